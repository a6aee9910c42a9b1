"""Pictures to feature vectors (timm), sentences to tokens and feature vectors (BERT)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import timm
import torch
from timm.layers import to_2tuple
from tokenizers import BertWordPieceTokenizer, Tokenizer
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from cliplib.config import Profile
from cliplib.hub import CONFIG, VOCABULARY, WEIGHTS, fetch, weights_in
from cliplib.pictures import ImageTransform

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def pick_device() -> torch.device:
    """The one place that chooses: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


class ImageEncoder(nn.Module):
    """Pictures to feature vectors with any timm network: a timm name, "hf-hub:…" or "local-dir:…".

    Without `size` (pixels, height and width) pictures have the size that the network was made for;
    most convolutional networks take any other too, most vision transformers must be told it here.
    `revision` is that of the weights on the model hub, "" the newest; `folder` is where they lie.

    Shapes: (B, 3, H, W) normalised in; (B, D) pooled features, or (B, 1000) class logits, out.
    Raises: ValueError for a name that timm does not know, a revision that cannot be or a size that
    is no multiple of the network's patches; OSError when its weights cannot be had.
    """

    def __init__(
        self, name: str, pretrained: bool, output: str = "features", size: int | None = None,
        revision: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.folder = _timm_network(name, pretrained, size, revision)
        if output == "features":
            self.network.reset_classifier(0)  # pooled features come out instead of class logits
        self.width: int = (
            self.network.num_classes if output == "logits" else self.network.head_hidden_size
        )
        self.data_config = timm.data.resolve_model_data_config(self.network)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(pictures)  # (B, D)

    def transform(self, size: int, crop: float) -> ImageTransform:
        """How pictures are prepared: mean, deviation and interpolation are the network's own."""
        config = self.data_config
        mean, std = tuple(config["mean"]), tuple(config["std"])
        return ImageTransform(size, crop, mean, std, config["interpolation"])


def _timm_network(
    name: str, pretrained: bool, size: int | None, revision: str
) -> tuple[nn.Module, Path | None]:
    """The network and, where it is pretrained, the folder that its weights came from."""
    try:
        source, weights, folder = _timm_source(name, pretrained, revision)
        network = timm.create_model(source, pretrained, pretrained_cfg_overlay=weights)
        own_size = network.pretrained_cfg["input_size"][-1]
        if size not in (None, own_size) and network.pretrained_cfg.get("fixed_input_size"):
            _check_patches(name, network, size, own_size)
            network = timm.create_model(
                source, pretrained, pretrained_cfg_overlay=weights, img_size=size
            )
    except RuntimeError as error:
        if "Unknown model" not in str(error) and "Invalid pretrained tag" not in str(error):
            raise
        raise ValueError(
            f"timm knows no image encoder {name!r}; timm.list_models() names them."
        ) from None
    return network, folder if pretrained else None


def _timm_source(
    name: str, pretrained: bool, revision: str
) -> tuple[str, dict[str, str | bool], Path | None]:
    """What timm is asked for: files that are here, so that it never asks the hub itself."""
    for prefix in ("hf-hub:", "local-dir:"):  # config.json in the folder says which network it is
        if name.startswith(prefix):
            folder = fetch(name.removeprefix(prefix), revision, (CONFIG, WEIGHTS))
            return f"local-dir:{folder}", _timm_weights(folder), folder
    known = timm.get_pretrained_cfg(name)
    if pretrained and known and known.hf_hub_id:
        folder = fetch(known.hf_hub_id, revision, (WEIGHTS,))
        return name, _timm_weights(folder), folder
    if revision:
        raise ValueError(
            f"image_revision is {revision!r}, but no weights of {name} are loaded from the hub."
        )
    return name, {}, None


def _timm_weights(folder: Path) -> dict[str, str | bool]:
    """The file in a folder, by its name: timm 1.0.20 takes a folder's safetensors for pickles."""
    files = weights_in(folder)
    if not files:  # a folder of one's own, whose file has another name, or none is needed
        return {}
    # custom_load would be for the form that the authors first published
    return {"source": "", "file": str(files[0]), "custom_load": False}


def _check_patches(name: str, network: nn.Module, size: int, own_size: int) -> None:
    """timm itself would cut off what is left over of a picture, or stop at the first batch."""
    patches = getattr(network, "patch_embed", None)
    patch = to_2tuple(patches.patch_size)[0] if hasattr(patches, "patch_size") else 1
    if size % patch:
        raise ValueError(
            f"{name} cuts pictures into patches of {patch} × {patch} pixels, so image_size must be "
            f"a multiple of {patch}, such as {own_size}, for which it was made; it is {size}."
        )


class TextEncoder(nn.Module):
    """Sentences to feature vectors with any transformers encoder: the mean over their real tokens.

    `folder` is where pretrained weights lie, None for an encoder from scratch.

    Shapes: token ids and mask (1 = real), both (B, L), in; (B, D) out.
    """

    def __init__(self, network: nn.Module, folder: Path | None = None) -> None:
        super().__init__()
        self.network = network
        self.folder = folder
        self.width: int = network.config.hidden_size

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, D)
        return masked_mean(hidden, mask)


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens only, so that padding changes nothing.

    Shapes: (B, L, D) and (B, L) in, (B, D) out.
    Source: Reimers and Gurevych 2019, Sentence-BERT, section 3 (arXiv 1908.10084).
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, L, 1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def text_encoder(profile: Profile) -> TextEncoder:
    """The profile's text encoder: pretrained by its hub name, or a small BERT from scratch.

    Raises: OSError when the pretrained weights cannot be had, ValueError for a revision that
    cannot be.
    """
    if not profile.text_pretrained:
        return TextEncoder(_small_bert(profile))
    folder = _text_files(profile.text_encoder, profile.text_revision)
    # float32 like everything else here; transformers would keep a half-precision file as it is
    return TextEncoder(AutoModel.from_pretrained(folder, dtype=torch.float32), folder)


def _text_files(name: str, revision: str) -> Path:
    return fetch(name, revision, (CONFIG, VOCABULARY, WEIGHTS))


def _small_bert(profile: Profile) -> BertModel:
    config = BertConfig(
        vocab_size=profile.vocabulary_size,
        hidden_size=profile.text_width,
        num_hidden_layers=profile.text_layers,
        num_attention_heads=max(profile.text_width // 64, 1),
        intermediate_size=4 * profile.text_width,
        max_position_embeddings=profile.max_tokens,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=False)


class CaptionTokenizer:
    """Sentences to token ids, at most `max_tokens`; `data.TokenTable` pads each batch."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self.pad_id: int = tokenizer.token_to_id("[PAD]") or 0
        self.vocabulary_size: int = tokenizer.get_vocab_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(sentences))]

    def tokens(self, sentence: str) -> list[str]:
        return self._tokenizer.encode(sentence).tokens

    def cut_off(self, sentences: Sequence[str]) -> list[int]:
        """How many tokens of each sentence stand behind the last that is kept."""
        encodings = self._tokenizer.encode_batch(list(sentences))
        return [
            sum(rest.special_tokens_mask.count(0) for rest in encoding.overflowing)
            for encoding in encodings
        ]

    def to_json(self) -> str:
        return self._tokenizer.to_str()


def train_tokenizer(
    captions: Sequence[str], vocabulary_size: int, max_tokens: int
) -> CaptionTokenizer:
    """A WordPiece tokenizer of at most `vocabulary_size` pieces, learned from captions."""
    letters = Counter(ascii_lowercase + "".join("".join(captions).lower().split()))
    # A letter is two pieces, at a word's start and inside it. They are named in a fixed order: the
    # learner itself numbers them at random and breaks ties by number, so its pieces would vary.
    room = (vocabulary_size - len(SPECIAL_PIECES)) // 2
    most = [letter for letter, _ in letters.most_common(room)]
    fixed = [*SPECIAL_PIECES, *sorted(most), *(f"##{letter}" for letter in sorted(most))]
    learner = BertWordPieceTokenizer(lowercase=True)
    learner.train_from_iterator(
        captions, vocabulary_size, min_frequency=2, special_tokens=fixed, show_progress=False,
        limit_alphabet=0,  # no letter but those: among equally frequent ones it would pick its own
    )  # fmt: skip
    # made anew from its vocabulary, because only then it puts [CLS] and [SEP] around sentences
    tokenizer = BertWordPieceTokenizer(learner.get_vocab(), lowercase=True)
    return load_tokenizer(tokenizer.to_str(), max_tokens)


def load_tokenizer(serialised: str, max_tokens: int) -> CaptionTokenizer:
    """A tokenizer from the text of its tokenizer.json; it puts [CLS] and [SEP] around sentences."""
    return CaptionTokenizer(Tokenizer.from_str(serialised), max_tokens)


def hub_tokenizer(name: str, max_tokens: int, revision: str = "") -> CaptionTokenizer:
    """The tokenizer that belongs to a pretrained text encoder.

    Raises: OSError when it cannot be had, ValueError for a revision that cannot be.
    """
    fast = AutoTokenizer.from_pretrained(_text_files(name, revision))
    return load_tokenizer(fast.backend_tokenizer.to_str(), max_tokens)
