"""The audit as one HTML page that needs nothing else: English and Chinese, with pictures of what was found."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from vesalius.stages.check.audit import Audit, Issue
from vesalius.stages.check.facts import Fact
from vesalius.stages.check.text import mask_rows, summary

PAIRS = 12
PICTURES = 8
SIDE = 120
SHOWS = ("constant", "odd_size", "odd_picture", "mixed_colour", "mixed_modality", "mixed_bits", "duplicates_across_labels")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Vesalius: audit of {{ name }}</title><style>
body{font:15px/1.5 system-ui,"Noto Sans SC","Microsoft YaHei",sans-serif;color:#1d2430;background:#fff;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}th{text-align:left;vertical-align:top;padding:.1rem 1.2rem .1rem 0;font-weight:600;white-space:nowrap}
td{overflow-wrap:anywhere}li{list-style:none;margin:.5rem 0;padding:.5rem .8rem;border-left:4px solid #9aa4b2;background:#f5f7fa}ul{padding:0}
li.error{border-color:#c62828;background:#fdecec}li.warning{border-color:#d98e04;background:#fff7e6}small{color:#5b6675;overflow-wrap:anywhere}
figure{display:inline-block;margin:.4rem .8rem .4rem 0;vertical-align:top;max-width:17rem}figcaption{font-size:.78rem;color:#5b6675;overflow-wrap:anywhere}
img{image-rendering:auto;border:1px solid #d5dbe3;margin-right:2px}button{float:right;font:inherit;padding:.2rem .7rem}
table.structures{margin-top:1.2rem;border-collapse:collapse}.structures th,.structures td{padding:.25rem 1.6rem .25rem 0;border-bottom:1px solid #e3e8ee}
.structures th:not(:first-child),.structures td:not(:first-child){text-align:right;padding-right:.4rem;padding-left:1.4rem}
body[data-lang=en] .zh,body[data-lang=zh] .en{display:none}
</style></head><body data-lang="{{ lang }}">
<button onclick="document.body.dataset.lang=document.body.dataset.lang==='en'?'zh':'en'">English / 中文</button>
<h1><span class="en">Audit of {{ name }}</span><span class="zh">{{ name }} 数据检查</span></h1>
{% for lang, rows in summaries %}<table class="{{ lang }}">{% for key, value in rows %}<tr><th>{{ key }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
{% endfor %}
{% for lang, (heads, rows) in structures if rows %}<table class="{{ lang }} structures"><tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>
{% endfor %}
<h2><span class="en">Findings</span><span class="zh">发现</span></h2>
{% if not issues %}<p><span class="en">Nothing was found wrong.</span><span class="zh">未发现问题。</span></p>{% endif %}
<ul>{% for issue in issues %}<li class="{{ issue.severity }}"><span class="en">{{ issue.en }}</span><span class="zh">{{ issue.zh }}</span>
{% if issue.files %}<br><small>{{ issue.files|join(", ") }}{% if issue.n > issue.files|length %} … ({{ issue.n }}){% endif %}</small>{% endif %}
{% if pictures(issue) %}<div>{% for id, source in pictures(issue) %}
<figure><img src="{{ source }}" alt="{{ id }}"><figcaption>{{ id }}</figcaption></figure>
{% endfor %}</div>{% endif %}
</li>{% endfor %}</ul>
{% if pairs %}<h2><span class="en">Duplicates</span><span class="zh">重复影像</span></h2>
{% for a, b, how, left, right in pairs %}<figure><img src="{{ left }}" alt="{{ a }}"><img src="{{ right }}" alt="{{ b }}">
<figcaption>{{ how }}<br>{{ a }}<br>{{ b }}</figcaption></figure>
{% endfor %}{% endif %}
</body></html>
"""


def to_html(audit: Audit, lang: str = "en") -> str:
    """A self-contained page; ``lang`` is the language it opens in."""
    facts = {fact.id: fact for fact in audit.facts}
    page = Environment(autoescape=True).from_string(PAGE)
    name = audit.cohort.root.rstrip("/").rsplit("/", 1)[-1]
    summaries = [(each, summary(audit, each)) for each in ("en", "zh")]  # type: ignore[arg-type]
    structures = [(each, mask_rows(audit, each)) for each in ("en", "zh")]  # type: ignore[arg-type]
    return page.render(name=name, lang=lang, summaries=summaries, structures=structures, issues=audit.issues, pictures=_pictures(facts),
                       pairs=_pairs(audit, facts))


def _pictures(facts: dict[str, Fact]) -> Callable[[Issue], list[tuple[str, Markup]]]:
    def of(issue: Issue) -> list[tuple[str, Markup]]:
        if issue.code not in SHOWS:
            return []
        return [(name, _picture(facts[name])) for name in issue.files[:PICTURES] if facts[name].print is not None]

    return of


def _pairs(audit: Audit, facts: dict[str, Fact]) -> list[tuple[str, str, str, Markup, Markup]]:
    """The first duplicate pairs: near ones first, since the exact ones look as one expects."""
    ids = [case.id for case in audit.cohort.cases]
    named = [(ids[pair.a], ids[pair.b], f"{pair.how} ({pair.score:.3f})") for pair in sorted(audit.twins.near, key=lambda pair: pair.score)]
    named += [(group[0], group[1], "identical") for group in audit.twins.exact]
    return [(a, b, how, _picture(facts[a]), _picture(facts[b])) for a, b, how in named[:PAIRS]]


def _picture(fact: Fact) -> Markup:
    """The fingerprint's first plane as an inline PNG in the image's own proportions."""
    thumb = np.zeros((1, 1), np.uint8) if fact.print is None else fact.print[0]
    y, x = (fact.shape or (1, 1))[-2:]
    size = (max(1, round(SIDE * min(1, x / y))), max(1, round(SIDE * min(1, y / x))))
    held = io.BytesIO()
    Image.fromarray(thumb).resize(size, Image.Resampling.BICUBIC).save(held, "PNG")
    return Markup("data:image/png;base64," + base64.b64encode(held.getvalue()).decode())
