"""The command line. Heavy parts are imported by the verb that needs them, so that help comes at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from vesalius import __version__, cli_clinic
from vesalius.errors import VesaliusError
from vesalius.registry import unknown

WRONG, INTERRUPTED = 2, 130
USAGE: type[Exception] = typer.BadParameter.__mro__[2]
"""click's ClickException; newer typer carries its own copy of click, so it is asked of typer."""
app = typer.Typer(
    name="vesalius", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Point it at a folder of medical images; get back a model and a report you can believe. Research use: a doctor decides.",
)

Data = Annotated[str, typer.Argument(help="Folder of classes, folder with a table, images with masks or boxes, .npz, DICOM tree, or medmnist:NAME.")]
Table = Annotated[str | None, typer.Option(help="Table with labels and clinical columns (CSV, TSV, Parquet, XLSX).")]
Label = Annotated[str | None, typer.Option(help="Column of the label; several, comma-separated, for multi-label. Masks: NAME=NUMBER,... names the numbers.")]
Patient = Annotated[str | None, typer.Option(help="Column or file-name pattern (regular expression) that names the patient, or 'none'.")]
Image = Annotated[str | None, typer.Option(help="Column that names the image file.")]
Target = Annotated[str | None, typer.Option(help="binary, multiclass, multilabel, ordinal, regression, mask or boxes; recognised when left out.")]
Gaps = Annotated[str | None, typer.Option(help="Missing slices of a DICOM series: refuse (when left out) or fill.")]
Layout = Annotated[str | None, typer.Option(help="How to read DATA when two readings fit.")]
Jobs = Annotated[int | None, typer.Option(help="Worker processes for reading; all cores when left out.")]
Lang = Annotated[str, typer.Option(help="Language shown first: en or zh.")]


@app.command()
def check(
    data: Data, table: Table = None, label: Label = None, patient: Patient = None, image: Image = None, target: Target = None, layout: Layout = None,
    gaps: Gaps = None,
    json: Annotated[Path | None, typer.Option(help="Write what was found as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write what was found as a page.")] = None,
    jobs: Jobs = None, lang: Lang = "en",
) -> None:
    """What is here, what is wrong, who the patient is, which images are duplicates. Nothing is changed."""
    from vesalius.stages.check import check as run_check
    from vesalius.stages.check import to_html, to_text
    from vesalius.stages.request import Request
    from vesalius.storage import atomic_json, atomic_write

    Request(data=data, lang=lang, jobs=jobs)
    with _progress() as progress:
        audit = run_check(data, table=table, label=label, patient=patient, image=image, target=target, layout=layout, gaps=gaps, jobs=jobs,
                          progress=progress)
    typer.echo(to_text(audit, cast(Literal["en", "zh"], lang)))
    if json is not None:
        atomic_json(json, audit.to_dict())
    if html is not None:
        atomic_write(html, to_html(audit, lang).encode())
    audit.raise_if_hopeless()


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; the same command goes on in it.")] = Path("run"),
    table: Table = None, label: Label = None, patient: Patient = None, image: Image = None, target: Target = None, layout: Layout = None,
    gaps: Gaps = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    budget: Annotated[str | None, typer.Option(help="Training time, e.g. 10m or 2h.")] = None,
    network: Annotated[str | None, typer.Option(help="A name, several (comma-separated) or 'all' to rank them. 'vesalius networks' lists them.")] = None,
    weights: Annotated[str | None, typer.Option(help="Pretrained weights: a file, a known name, or hub:NAME (downloads).")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the network's input in samples.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs instead of what the budget gives.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true, bf16-mixed or 16-mixed; measured when left out.")] = None,
    members: Annotated[int | None, typer.Option(help="Networks in the ensemble.")] = None,
    folds: Annotated[int | None, typer.Option(help="Train so many networks, each without one part of the patients, and average them.")] = None,
    sensitivity: Annotated[float | None, typer.Option(help="Choose the operating point for this sensitivity.")] = None,
    repeat: Annotated[int, typer.Option(help="Train with so many seeds: how much of the figure is luck.")] = 1,
    plan: Annotated[str | None, typer.Option(help="A plan.toml (or a run folder) whose decisions are taken instead of planning anew.")] = None,
    corrections: Annotated[str | None, typer.Option(help="corrections.csv from the page of doubtful labels.")] = None,
    split_by_image: Annotated[bool, typer.Option("--split-by-image", help="Ignore who the patient is. The report shows it in red.")] = False,
    new_split: Annotated[bool, typer.Option("--new-split", help="Do not keep the official split.")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes that train together on this machine.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines that train together.")] = 1,
    jobs: Jobs = None, lang: Lang = "en",
) -> None:
    """The main job: check, split by patient, plan, train, calibrate, test once, explain, report."""
    from vesalius.stages.fit import fit as run_fit
    from vesalius.stages.request import seconds_of
    from vesalius.stages.summary import summary

    names = tuple(name.strip() for name in network.split(",") if name.strip()) if network else ()
    with _progress() as progress:
        run = run_fit(
            data, out, progress=progress, table=table, label=label, patient=patient, image=image, target=target, layout=layout, gaps=gaps, seed=seed,
            budget_s=seconds_of(budget), network=names, weights=weights, size=size, epochs=epochs, batch=batch, learning_rate=learning_rate,
            precision=precision, members=members, folds=folds, sensitivity=sensitivity, by_image=split_by_image, new_split=new_split, accelerator=accelerator,
            devices=devices, nodes=nodes, jobs=jobs, lang=lang, repeat=repeat, plan=plan, corrections=corrections,
        )
    typer.echo(summary(run, lang) if (run / "metrics.json").is_file() else f"trained along; the first machine writes the report in {run}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder or model folder.")],
    data: Annotated[Path, typer.Argument(help="File, folder or DICOM series.")],
    out: Annotated[Path, typer.Option(help="Folder for findings.csv, findings.json and pictures.")] = Path("findings"),
    pictures: Annotated[int, typer.Option(help="Heat maps for so many studies.")] = 50,
    method: Annotated[
        str | None, typer.Option(help="Heat maps: gradcam, gradcam++, integrated-gradients, occlusion, rise, attention-rollout; drise for boxes."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    write: Annotated[str, typer.Option(help="Masks: nifti, png, dicom-seg, rtstruct; boxes: coco, csv, png, dicom-sr; what suits when left out.")] = "",
    gaps: Gaps = None,
    stream: Annotated[bool, typer.Option("--stream", help="Boxes: DATA is a video, a folder of frames or a camera's number; objects keep their ids.")] = False,
    show: Annotated[bool, typer.Option("--show", help="With --stream: also write the frames with their boxes.")] = False,
    limit: Annotated[int | None, typer.Option(help="With --stream: end after so many frames.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Read also studies that the model should not be used on. It is recorded.")] = False,
    engine: Annotated[str, typer.Option(help="local, or ray: an archive shared among workers; the same findings, and a stopped run goes on.")] = "local",
    workers: Annotated[int | None, typer.Option(help="With --engine ray: processes; all cores when left out.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="With --engine ray: a cluster that is there; else one of this machine.")] = None,
) -> None:
    """Findings for new studies: label, probability, heat map; or masks or boxes with their measurements."""
    from vesalius.stages.predict import predict as run_predict
    from vesalius.stages.predict import stream as run_stream

    if stream:
        with _progress() as progress:
            streamed = run_stream(run, data, out, device=device, show=show, limit=limit, progress=progress)
        typer.echo(f"{streamed.sentence}: {streamed.table}\nResearch use: a doctor decides.")
        return
    kinds = tuple(name.strip() for name in write.split(",") if name.strip())
    with _progress() as progress:
        options: dict[str, Any] = {"pictures": pictures, "method": method, "device": device, "write": kinds, "gaps": gaps, "force": force,
                                   "progress": progress}
        made = _on_ray(engine)(run, data, out, workers=workers, address=ray_address, **options) if engine != "local" else run_predict(
            run, data, out, **options)
    typer.echo(f"{len(made.findings)} studies read, {len(made.refused)} refused: {made.table}")
    for name, why in list(made.refused.items())[:5]:
        typer.echo(f"refused: {name}: {why}")
    if made.door is not None and made.door.unjudged is not None:
        typer.echo(f"{made.door.unjudged.en} {made.door.unjudged.zh}")
    typer.echo("Research use: a doctor decides.")


def _on_ray(engine: str) -> Callable[..., Any]:
    if engine != "ray":
        raise unknown("engine", engine, ["local", "ray"])
    from vesalius.stages.scaleout.ray import predict_on_ray

    return predict_on_ray


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Run folder.")], lang: Lang = "en") -> None:
    """Write the page again from the record of the run."""
    from vesalius.stages.report import report as run_report

    typer.echo(str(run_report(run, lang)))


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Run folder.")],
    second: Annotated[Path, typer.Argument(help="Another run on the same test cases.")],
    out: Annotated[Path | None, typer.Option(help="Folder for compare.json and a page.")] = None,
    lang: Lang = "en",
) -> None:
    """Two runs on the same test cases, paired: is there a difference, and what would show one."""
    from vesalius.stages.compare import compare as run_compare
    from vesalius.stages.report.brief import compare_page, compare_text
    from vesalius.storage import atomic_write

    record = run_compare(first, second, out=out)
    if out is not None:
        atomic_write(out / "compare.html", compare_page(record, lang).encode())
    typer.echo(compare_text(record, lang))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    external: Annotated[str, typer.Option(help="Another hospital's set; read like DATA.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results; within RUN when left out.")] = None,
    table: Table = None, label: Label = None, patient: Patient = None, image: Image = None, layout: Layout = None, gaps: Gaps = None,
    jobs: Jobs = None, lang: Lang = "en",
) -> None:
    """Score another set with the model of a run: the figures, the drop against the own test, and what has shifted."""
    from vesalius.stages.external import evaluate_external
    from vesalius.stages.report.externalpage import external_page, external_text
    from vesalius.storage import atomic_write

    with _progress() as progress:
        made = evaluate_external(run, external, out=out, table=table, label=label, patient=patient, image=image, layout=layout, gaps=gaps, jobs=jobs,
                                 progress=progress)
    page = made.folder / "external.html"
    atomic_write(page, external_page(made.record, lang).encode())
    typer.echo(f"{external_text(made.record, lang)}\n{page}")


@app.command()
def monitor(
    run: Annotated[Path, typer.Argument(help="Run folder or model folder.")],
    logs: Annotated[list[Path], typer.Argument(help="findings.json of predict in their order, or folders of such.")],
    out: Annotated[Path | None, typer.Option(help="Folder for monitor.json and a page.")] = None,
    window: Annotated[int, typer.Option(help="Studies of one window.")] = 50,
    rate: Annotated[float, typer.Option(help="Probability of a false alarm of each comparison.")] = 0.01,
    lang: Lang = "en",
) -> None:
    """Has what comes in changed since training? Windows of a prediction log against the training data, with a stated false-alarm rate."""
    from vesalius.stages.monitor import monitor as run_monitor
    from vesalius.stages.report.monitorpage import monitor_page, monitor_text
    from vesalius.storage import atomic_write

    record = run_monitor(run, logs, out=out, window=window, rate=rate)
    if out is not None:
        atomic_write(out / "monitor.html", monitor_page(record, lang).encode())
    typer.echo(monitor_text(record, lang))


@app.command()
def reproduce(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the second run; RUN-again when left out.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the data are now, if they were moved.")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on where images or labels are not as they were.")] = False,
    jobs: Jobs = None, lang: Lang = "en",
) -> None:
    """Fit again as the record of a run says, and say whether the numbers came out the same."""
    from vesalius.stages.reproduce import reproduce as run_reproduce

    with _progress() as progress:
        made = run_reproduce(run, out, data=data, anyway=anyway, progress=progress, jobs=jobs, lang=lang)
    typer.echo(made.text(lang))
    raise typer.Exit(made.exit_code)


@app.command()
def paperwork(run: Annotated[Path, typer.Argument(help="A finished run folder.")], lang: Lang = "en") -> None:
    """Model card and the checklists CLAIM, TRIPOD+AI and STARD-AI, filled from the facts of the run; gaps stay visibly empty."""
    from vesalius.stages.paperwork import paperwork as run_paperwork

    typer.echo(str(run_paperwork(run, lang)))


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="nnunet or monai-bundle.")],
    folder: Annotated[Path, typer.Argument(help="nnU-Net: the trained-model folder with plans.json; MONAI: the bundle.")],
    out: Annotated[Path, typer.Option(help="Folder for the model; give it to predict.")] = Path("imported"),
) -> None:
    """A model that another program trained, as a model for predict. Nothing in it is executed."""
    from vesalius.stages.importing import import_model

    typer.echo(f"{import_model(kind, folder, out)}: use it with 'vesalius predict {out} DATA'")


@app.command()
def networks() -> None:
    """The networks that --network knows by name."""
    from vesalius.networks import describe, names

    for name in names():
        info = describe(name)
        typer.echo(f"{name:20} {info.paper}")


app.add_typer(cli_clinic.app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    """Options before the verb."""


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar with time left for each kind of work, on the error stream; one line each where there is no screen."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        current: dict[str, Any] = {"kind": None, "bar": None}

        def tell(done: int, total: int, what: str) -> None:
            kind = (total, what.split(", loss")[0].split("epoch")[0])
            if kind != current["kind"]:
                current["kind"], current["bar"] = kind, bars.add_task(what, total=total)
                if not console.is_terminal:
                    console.print(what, highlight=False)
            bars.update(current["bar"], completed=done, description=what)

        yield tell


def main() -> None:
    """The entry point: one clear sentence and a code other than 0 when something is wrong."""
    try:
        code = app(standalone_mode=False)
    except VesaliusError as error:
        typer.echo(f"vesalius: {error}", err=True)
        sys.exit(WRONG)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except USAGE as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(WRONG)
    if code == INTERRUPTED:
        typer.echo("vesalius: stopped; nothing is lost, the same command goes on", err=True)
    sys.exit(code)
