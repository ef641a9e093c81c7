"""Publication on the Hugging Face hub: checked, compared with the last push, in one commit."""
