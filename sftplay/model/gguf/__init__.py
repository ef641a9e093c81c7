"""GGUF files: llama.cpp's converter and server, what Ollama needs, and the proof."""
