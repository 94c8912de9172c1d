import numpy as np

from twofold import HashingEncoder


def test_hashing_is_the_same_everywhere():
    encoder = HashingEncoder()
    one, two, other, empty = encoder.encode_passages(["red apple", "APPLE red!", "blue", ""])
    assert one.tobytes() == two.tobytes()
    assert one @ two > one @ other
    np.testing.assert_allclose(np.linalg.norm([one, other, empty], axis=1), 1, atol=1e-6)
    assert np.flatnonzero(one).tolist() == [0, 203, 246]
    np.testing.assert_allclose(one[[0, 203, 246]] * np.sqrt(2.01), [0.1, -1, 1], atol=1e-6)
