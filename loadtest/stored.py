"""What the store of the scenario `start` has in it, as the lines of an export."""

import itertools
import random

ROOMS, MESSAGES_EACH, BODY_BYTES = 100_000, 10, 200
# What is said there: so many texts, in which the n-th word stands `1 / n` times as often as the
# first, as people have it.
TEXTS = 50_000
WORDS = [f"{number * 7_919 % 1_000_003:x}" for number in range(1, 20_001)]
OFTEN = list(itertools.accumulate(1 / rank for rank in range(1, len(WORDS) + 1)))


def exported():
    """The lines of an export with so many rooms and messages."""
    random_words = random.Random(1)
    texts = [
        " ".join(random_words.choices(WORDS, cum_weights=OFTEN, k=60))[:BODY_BYTES]
        for _ in range(TEXTS)
    ]
    yield '{"kind":"chinwag","format":1}'
    stands = f'"floor":0,"last":{MESSAGES_EACH},"last_change":0,"changed_floor":0'
    for room in range(ROOMS):
        of, epoch = f'"room":"room-{room}"', f"{room + 1:016x}"
        yield f'{{"kind":"room",{of},"title":"","founded":0,"created_at":1,{stands}}}'
        yield f'{{"kind":"era",{of},"first":1,"first_change":1,"epoch":"{epoch}","life":1}}'
        for offset in range(1, MESSAGES_EACH + 1):
            body = texts[(room * MESSAGES_EACH + offset) % TEXTS]
            at = f'"offset":{offset},"id":"{epoch}-{offset}","at":{offset}'
            said = f'"user":"u","name":"Ann","body":"{body}"'
            yield f'{{"kind":"message",{of},{at},{said}}}'
    yield f'{{"kind":"end","rooms":{ROOMS},"messages":{ROOMS * MESSAGES_EACH}}}'
