"""What a run knows of its model: network, training, choice, software, hashes."""

from __future__ import annotations

import json
from typing import Any

from vesalius.networks import describe
from vesalius.networks import names as network_names
from vesalius.stages.paperwork.base import Answer, joined, sentences, shown, tell
from vesalius.stages.paperwork.of_data import PLAN, decisions
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.summary import number
from vesalius.stages.report.texts import Both, name_of, same

ENVIRONMENT, WEIGHTS = "environment.json", "model/weights.safetensors"
TRAINED = ("learning_rate", "warmup_steps", "weight_decay", "clip_norm", "ema", "batch", "steps_per_epoch", "epochs", "patience", "precision", "loss",
           "label_smoothing")
OUTPUT_BY_KIND = {"regression": "output.value", "mask": "output.mask", "boxes": "output.boxes"}


def network(facts: RunFacts) -> Answer | None:
    name = facts.plan.get("network.name") if facts.plan else None
    return Answer(tell("network", name=name, kind=name_of("kind", facts.kind)), PLAN) if name else None


def architecture(facts: RunFacts) -> Answer | None:
    """Name, options, publication."""
    plan = facts.plan
    if plan is None or not plan.get("network.name"):
        return None
    name = str(plan["network.name"])
    said = [tell("architecture", name=name)]
    if plan.get("network.options"):
        said.append(tell("architecture.options", options=shown(plan["network.options"])))
    if name in network_names():
        said.append(tell("architecture.paper", paper=describe(name).paper.rstrip(".")))
    return Answer(sentences(said), PLAN)


def input_of(facts: RunFacts) -> Answer | None:
    plan = facts.plan
    if plan is None or plan.get("input.size") is None:
        return None
    key = "input.tiles" if facts.kind == "mask" else "input.whole"
    return Answer(tell(key, size=shown(plan["input.size"], " × "), channels=plan.get("input.channels", "–")), PLAN)


def output(facts: RunFacts) -> Answer | None:
    if facts.target is None:
        return None
    key = OUTPUT_BY_KIND.get(facts.kind, "output.classes")
    return Answer(tell(key, k=len(facts.target.classes), name=facts.target.name), PLAN)


def software(facts: RunFacts) -> Answer | None:
    versions = facts.environment.get("versions")
    if not versions:
        return None
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if version != "not installed")
    return Answer(tell("software", list=listed, python=facts.environment.get("python", "–"), system=facts.environment.get("system", "–")), ENVIRONMENT)


def machine(facts: RunFacts) -> Answer | None:
    plan = facts.plan
    if plan is None or plan.get("machine.accelerator") is None:
        return None
    seconds = facts.environment.get("seconds", {}).get("train")
    said = [tell("machine", what=plan.reason("machine.accelerator"), accelerator=plan["machine.accelerator"], threads=plan.get("machine.threads", "–"))]
    said += [tell("machine.seconds", seconds=number(seconds, 1))] if seconds is not None else []
    return Answer(sentences(said), f"{PLAN}, {ENVIRONMENT}")


def initial(facts: RunFacts) -> Answer | None:
    request = facts.environment.get("request")
    if request is None:
        return None
    if request.get("weights"):
        return Answer(tell("initial.weights", weights=request["weights"]), ENVIRONMENT)
    return Answer(tell("initial.random", seed=facts.environment.get("seed", "–")), ENVIRONMENT)


def training(facts: RunFacts) -> Answer | None:
    found = decisions(facts, "training", "train", TRAINED)
    if found is None:
        return None
    seed = facts.environment.get("seed")
    ended = [_ended(each) for each in facts.training[:5]]
    said = [found.text, *([tell("training.seed", seed=seed)] if seed is not None else []), *([tell("training.ended", list=joined(ended))] if ended else [])]
    return Answer(sentences(said), f"{PLAN}, {ENVIRONMENT}, log/training.json")


def _ended(each: dict[str, Any]) -> Both:
    return tell("training.member", epochs=each.get("epochs", "–"), best=each.get("best_epoch", "–"))


def augmentation(facts: RunFacts) -> Answer | None:
    plan = facts.plan
    if plan is None or plan.get("train.augment") is None:
        return None
    mirror = plan.get("train.mirror", [])
    said = [tell("augmentation", list=shown(plan["train.augment"])), tell("augmentation.mirror", axes=shown(mirror)) if mirror else tell("augmentation.none")]
    return Answer(sentences(said), PLAN)


def selection(facts: RunFacts) -> Answer | None:
    if facts.plan is None:
        return None
    said = [tell("selection.last" if facts.keeps_last else "selection.best")]
    if facts.ranking is not None and len(facts.ranking):
        said.append(tell("selection.ranked", n=len(facts.ranking), name=facts.ranking["network"].iloc[0]))
    return Answer(sentences(said), f"{PLAN}, log/history.csv")


def ensemble(facts: RunFacts) -> Answer | None:
    plan = facts.plan
    if plan is None or plan.get("train.members") is None:
        return None
    members, folds = int(plan["train.members"]), int(plan.get("train.folds", 0) or 0)
    said = [tell("ensemble.folds", n=folds * members, folds=folds) if folds else tell("ensemble.many", n=members) if members > 1 else tell("ensemble.one")]
    said += [tell("ensemble.mirror")] if plan.get("train.mirror") else []
    return Answer(sentences(said), PLAN)


def plan_of(facts: RunFacts) -> Answer | None:
    return None if facts.plan is None else Answer(tell("plan", hash=facts.plan.hash, n=sum(len(part) for part in facts.plan.sections.values())), PLAN)


def predict(facts: RunFacts) -> Answer | None:
    return None if facts.weights_hash is None else Answer(tell("predict", run=facts.run.resolve().name), "model/")


def record(facts: RunFacts) -> Answer | None:
    if facts.weights_hash is None:
        return None
    version = facts.environment.get("versions", {}).get("vesalius", "–")
    return Answer(tell("record", version=version, weights=facts.weights_hash, plan=facts.plan.hash if facts.plan else "–"), f"{WEIGHTS}, {PLAN}")


def data_hash(facts: RunFacts) -> Answer | None:
    found = facts.environment.get("data_hash")
    seal = facts.plan.get("split.seal", "–") if facts.plan else "–"
    return Answer(tell("data_hash", hash=found, seal=seal), f"{ENVIRONMENT}, {PLAN}") if found else None


def reproduced(facts: RunFacts) -> Answer | None:
    """What `reproduce` said, where it was run and could be written here."""
    path = facts.run / "log" / "reproduced.json"
    if not path.is_file():
        return Answer(tell("reproduced.how", run=facts.run.resolve().name), ENVIRONMENT) if facts.environment.get("data_hash") else None
    found = json.loads(path.read_text("utf-8"))
    return Answer(sentences([Both(en, zh) for en, zh in zip(found["en"][:2], found["zh"][:2], strict=True)]), "log/reproduced.json")


def kept(facts: RunFacts) -> Answer | None:
    return None if facts.predictions is None else Answer(tell("kept", n=f"{len(facts.predictions):,}"), "predictions.parquet")


def development(facts: RunFacts) -> Answer | None:
    return Answer(tell("development", name=same(facts.name)), PLAN) if facts.plan is not None else None


ANSWERS = {
    "network": network, "architecture": architecture, "input": input_of, "output": output, "software": software, "machine": machine, "initial": initial,
    "training": training, "augmentation": augmentation, "selection": selection, "ensemble": ensemble, "plan": plan_of, "predict": predict, "record": record,
    "data_hash": data_hash, "reproduced": reproduced, "kept": kept, "development": development,
}
