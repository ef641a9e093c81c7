"""What goes to the Hugging Face hub, and how: checked, compared with the last push, in one commit."""
