"""The verbs of the clinic; registered by `cli`. Heavy parts are imported by the verb that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Lang = Annotated[str | None, typer.Option(help="Language shown first: en or zh; the site's when left out.")]
app = typer.Typer()


@app.command()
def serve(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN...", help="Run folders or model folders; more may be named in site.toml.")] = None,
    folder: Annotated[Path, typer.Option(help="State of the site: site.toml (may be absent), database, objects, results.")] = Path("site"),
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond 127.0.0.1 the site needs users and TLS.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Page, REST and DICOMweb; 0 takes a free port.")] = None,
    dicom_port: Annotated[int | None, typer.Option(help="DICOM node; 0 takes a free port.")] = None,
    ae_title: Annotated[str | None, typer.Option(help="AE title of the node.")] = None,
    quiet: Annotated[float | None, typer.Option(help="Seconds without a new instance after which a series is complete.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Read with so many Ray Serve replicas a model instead of one process.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="With --replicas: a Ray cluster that is there; else one of this machine.")] = None,
    lang: Lang = None,
) -> None:
    """A DICOM node, DICOMweb, REST and a reading page around models. It runs until it is interrupted; a stop of any kind loses nothing."""
    from vesalius.stages.serve.run import serve_site
    from vesalius.stages.serve.site import load_site

    site = load_site(folder, runs or (), host=host, http_port=http_port, dicom_port=dicom_port, ae_title=ae_title, quiet_s=quiet, lang=lang)
    if replicas is None:
        serve_site(site, typer.echo)
        return
    from vesalius.stages.scaleout.replicas import ReplicaEngine
    from vesalius.stages.serve.work.options import Options

    serve_site(site, typer.echo, engine=ReplicaEngine(site.models, replicas, address=ray_address, options=Options(queue=site.limits.queue)))


@app.command()
def deidentify(
    data: Annotated[Path, typer.Argument(help="File or folder: DICOM of any kind, PNG, JPEG, TIFF, NIfTI. Nothing in it is changed.")],
    out: Annotated[Path, typer.Argument(help="Folder for the de-identified files and manifest.csv; the same command goes on in it.")],
    key: Annotated[Path | None, typer.Option(help="File with the secret of the pseudonyms, made where absent; OUT.key beside OUT when left out.")] = None,
    dates: Annotated[str, typer.Option(help="remove, shift (by the same days for all of a patient) or keep.")] = "remove",
    keep: Annotated[str, typer.Option(help="What stays, of device, institution, patient, uids, private (the standard's list of safe ones).")] = "",
    clean: Annotated[str, typer.Option(help="What is cleaned rather than removed or left: pixels, structured, graphics, descriptors.")] = "pixels,structured",
    keep_private: Annotated[Path | None, typer.Option(help="TOML with further private attributes that are safe.")] = None,
) -> None:
    """Take the people out of images and objects: PS3.15 Annex E, burned-in text included. Look at the result before you give it away."""
    from vesalius.guards.deidentify.options import Options
    from vesalius.guards.deidentify.profile import private_file
    from vesalius.stages.deidentify import deidentify as run_deidentify

    kept, cleaned = (frozenset(name.strip() for name in text.split(",") if name.strip()) for text in (keep, clean))
    options = Options(dates, kept, cleaned, private_file(keep_private) if keep_private is not None else {})
    done = run_deidentify(data, out, key=key, options=options)
    typer.echo(f"{done.written} files written, {done.refused} refused: {done.manifest}\nThe key is in {done.key}; keep it apart from the output.")
