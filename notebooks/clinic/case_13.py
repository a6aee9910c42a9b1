"""Case 13: "I search twice and get two different answers." """

import torch

from cliplib.clinic import Chart, Ward, examine_vectors, own_ward
from cliplib.data import TokenTable
from cliplib.model import build_clip
from cliplib.store import PictureStore

PICTURES = 300


@torch.inference_mode()
def run(ward: Ward, seed: int = 0) -> Chart:
    sound, pairs = ward.run, ward.val.pairs
    torch.manual_seed(seed)
    model = build_clip(sound.profile).to(memory_format=torch.channels_last)
    model.load_state_dict(sound.model.state_dict())
    store = PictureStore(pairs.paths()[:PICTURES], sound.transform)
    words = [pairs.captions[pairs.captions_of(row)[0]] for row in range(PICTURES)]
    table = TokenTable(sound.tokenizer.encode(words), sound.tokenizer.pad_id)
    batches = [range(start, min(start + 30, PICTURES)) for start in range(0, PICTURES, 30)]
    images = torch.cat([model.encode_image(store.batch(rows)) for rows in batches])  # (N, E)
    texts = torch.cat([model.encode_text(table.batch(rows)) for rows in batches])  # (N, E)
    again = model.encode_image(store.batch(range(8)))  # (8, E)
    cosine = (again * images[:8]).sum(dim=1).mean()
    return examine_vectors(images, texts, f"a picture, encoded twice: cosine {cosine:.3f}")


if __name__ == "__main__":
    print(run(own_ward()))
