"""An application on a socket, by uvicorn: what `serve` and the sandbox have in common."""
