"""Case 12: "The same caption gets another vector when a long one stands in its batch." """

import torch
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine_vectors, own_ward, sound_images
from cliplib.data import TokenTable
from cliplib.model import CLIP

PICTURES = 300


def pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """The tokens' states (B, L, D) and their mask (B, L), 1 = real, to one vector each (B, D)."""
    return hidden.mean(dim=1)


@torch.inference_mode()
def embed(model: CLIP, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, L) twice to unit rows (B, E)."""
    hidden = model.text_encoder.network(input_ids=ids, attention_mask=mask).last_hidden_state
    return model.encode_text(pool(hidden, mask))


def run(ward: Ward, seed: int = 0) -> Chart:
    sound, pairs = ward.run, ward.val.pairs
    words = [pairs.captions[pairs.captions_of(row)[0]] for row in range(PICTURES)]
    table = TokenTable(sound.tokenizer.encode(words), sound.tokenizer.pad_id)
    batches = [range(start, min(start + 50, PICTURES)) for start in range(0, PICTURES, 50)]
    texts = torch.cat([embed(sound.model, *table.batch(rows)) for rows in batches])  # (N, E)
    shortest = min(range(PICTURES), key=lambda row: len(words[row]))
    alone = embed(sound.model, *table.batch([shortest]))[0]  # (E,)
    note = f"the shortest caption, alone and in its batch: cosine {alone @ texts[shortest]:.3f}"
    return examine_vectors(sound_images(ward, PICTURES), texts, note)


if __name__ == "__main__":
    print(run(own_ward()))
