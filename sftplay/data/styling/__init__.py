"""Style prompts: what the stage `style` puts into the system turn of each row."""
