"""Chat templates of model families: those that the installed TRL ships, SmolLM2's own, and a few
written here after the public description of how a family lays out a conversation.
"""

from __future__ import annotations

import re

from tests.data.models import smollm2_template, trl_templates

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
_MARK = re.compile(
    r"<\|[^|<>\s]+\|>|<｜[^｜<>]+｜>|\[/?[A-Z_]+\]|\[gMASK\]|<[a-z]*_?(?:of_turn|of_utterance)>|<turn\|>|<\|turn>|<sop>"
)

# Turns open with `<|role|>` and nothing closes them; each message may name a tool in its header.
GLM4 = """[gMASK]<sop>{% for message in messages %}<|{{ message.role }}|>{{ message.metadata or '' }}
{{ message.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""

# A system prompt in its own brackets, questions in [INST], answers closed by eos.
MISTRAL_SMALL = """{{ bos_token }}
{%- set start = 1 if messages[0].role == 'system' else 0 -%}
{%- if start %}{{ '[SYSTEM_PROMPT]' + messages[0].content + '[/SYSTEM_PROMPT]' }}{% endif -%}
{%- for message in messages[start:] -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- if message.role == 'user' %}{{ '[INST]' + message.content + '[/INST]' }}
{%- elif message.role == 'assistant' %}{{ message.content + eos_token }}
{%- else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif -%}
{%- endfor -%}"""

# Roles between marks, every turn closed by one token; tools are listed in the system turn, calls are
# JSON in <tool_call>, results come in a user turn.
GRANITE4 = """{%- if tools and messages[0].role != 'system' -%}
{{ '<|start_of_role|>system<|end_of_role|>You may call these tools:' }}
{%- for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor -%}{{ '<|end_of_text|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{%- set role = 'user' if message.role == 'tool' else message.role -%}
{{ '<|start_of_role|>' + role + '<|end_of_role|>' }}
{%- if message.role == 'tool' %}{{ '<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- else %}{{ message.content or '' }}{% endif -%}
{%- if tools and loop.first and message.role == 'system' -%}
{%- for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor -%}
{%- endif -%}
{%- for call in message.tool_calls or [] -%}
{{ '<tool_call>\\n' + {'name': call.function.name, 'arguments': call.function.arguments} | tojson + '\\n</tool_call>' }}
{%- endfor -%}
{{ '<|end_of_text|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif -%}"""

# The system prompt inside the first question, between marks of its own.
LLAMA2 = """{%- set start = 1 if messages[0].role == 'system' else 0 -%}
{%- for message in messages[start:] -%}
{%- if message.role == 'user' -%}
{{ bos_token + '[INST] ' }}
{%- if loop.first and start %}{{ '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' }}{% endif -%}
{{ message.content | trim + ' [/INST]' }}
{%- else %}{{ ' ' + message.content | trim + ' ' + eos_token }}{% endif -%}
{%- endfor -%}"""

WRITTEN = {"glm4": GLM4, "mistral_small": MISTRAL_SMALL, "granite4": GRANITE4, "llama2": LLAMA2}
SHIPPED = {name: text for name, text in trl_templates().items() if not name.endswith("_training")}
FAMILIES = {
    **SHIPPED,
    **WRITTEN,
    **({"smollm2": own} if (own := smollm2_template()) else {}),
}


def special_tokens(template: str) -> list[str]:
    """Return strings that look like special tokens in a template, other than the named ones."""
    return sorted({*_MARK.findall(template), "<|user|>", "<|assistant|>", "<|observation|>"})
