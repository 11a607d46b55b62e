"""The two tokenizers of the pocket model: byte-level BPE over captions and common words, in the formats of transformers.

CLIP's tokenizer keeps CLIP's conventions (lower case, `</w>`, end-of-text as the highest id). T5's is a tokenizer.json with pad 0 and eos 1.
"""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from pocket.images import SUBJECTS
from pocket.scenes import COLORS, random_scene

T5_LENGTH = 48
WORDS = """
a the of and in on with at to from by over under behind beside near photo image portrait close up view image drawing
painting sketch style wearing holding sitting standing lying looking camera face head eyes nose mouth ears fur hair hand
person man woman boy girl child people cat dog bird horse fish bear fox rabbit kitten puppy tree flower grass leaf
forest mountain river sea beach sky cloud sun moon star snow rain street city house car train boat road bridge window
door room table chair bed sofa book cup plate food cake fruit apple light dark bright soft warm cold big small large
tiny old young new happy sad smiling open closed left right front back side top bottom day night morning evening white
black grey red orange yellow green blue purple pink brown gold silver wooden metal glass stone paper toy hat shirt dress
coat shoes sks ohwx trigger background detailed high quality color texture pattern stripes circle square line shape
""".split()


def corpus(num_scenes: int = 4000) -> list[str]:
    """Return the training texts of the tokenizers: captions of scenes and photos, and common words."""
    random = np.random.default_rng(7)
    scenes = [random_scene(random, 8).caption for _ in range(num_scenes)]
    photos = [f"a photo of {subject}" for subject in SUBJECTS.values()] * 100
    return scenes + photos + [f"{word} {word}" for word in WORDS] * 40 + list(COLORS) * 40


def build_clip(folder: Path, num_merges: int = 400) -> CLIPTokenizer:
    """Train CLIP's tokenizer and save it as vocab.json, merges.txt and tokenizer_config.json."""
    shell = CLIPTokenizer().backend_tokenizer
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = shell.normalizer, shell.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + num_merges, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(alphabet) + [byte + "</w>" for byte in sorted(alphabet)]
    tokens += [token for token in model["vocab"] if token not in set(tokens)] + ["<|startoftext|>", "<|endoftext|>"]
    clip = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[tuple(pair) for pair in model["merges"]],  # type: ignore[misc]  # transformers accepts pairs too
        model_max_length=77,
    )
    clip.save_pretrained(folder)
    return clip


def build_t5(folder: Path, vocab_size: int = 700) -> PreTrainedTokenizerFast:
    """Train T5's tokenizer and save it as tokenizer.json and tokenizer_config.json; its maximum length is T5_LENGTH tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", model_max_length=T5_LENGTH)
    fast.save_pretrained(folder)
    return fast
