"""The reading page: the files that `web/` was built into, with headers that let it load nothing from anywhere else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request, Response

from vesalius.stages.serve.store import Missing

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'",
    "img-src 'self' data: blob:",  # the viewer's fonts are data, pictures of findings are blobs
    "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
))
"""Content Security Policy (W3C CSP 3): own scripts and styles only, no frame around the page, no form that leads away."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}


def router(_service: object = None) -> APIRouter:
    """``/`` and the files beside it. They hold no data of patients, so that they need no token; what they ask for does."""
    routes = APIRouter(include_in_schema=False)
    files = {path.name: _loaded(path) for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}

    @routes.get("/")
    def start(request: Request) -> Response:
        return _answer(request, *files["index.html"])

    @routes.get("/{name}.{suffix}")
    def file(request: Request, name: str, suffix: str) -> Response:
        held = files.get(f"{name}.{suffix}")
        if held is None:
            raise Missing("the page has no such file")
        return _answer(request, *held)

    return routes


def _loaded(path: Path) -> tuple[bytes, str, str]:
    """Bytes, type and ETag; the files are few and small, and are read once."""
    data = path.read_bytes()
    return data, TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _answer(request: Request, data: bytes, kind: str, tag: str) -> Response:
    headers = HEADERS | {"ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)
