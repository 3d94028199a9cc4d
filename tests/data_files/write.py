"""Writes the archives of this folder, here with NumPy 2.4.6: a reader is not tested against its own writer.

Element (i, j, k) of most arrays of dtypes.npz is i + 10 j + 20 k; of booleans, whether i + j + k is odd."""

import numpy as np

i, j, k = np.meshgrid(range(4), range(2), range(3), indexing="ij")
arrays = {}
for kind in ["b1", "u1", "i1"] + [order + kind for order in "<>" for kind in "u2 u4 u8 i2 i4 i8 f4 f8".split()]:
    values = ((i + j + k) % 2 if kind == "b1" else i + 10 * j + 20 * k).astype(kind)
    name = kind.replace("<", "le_").replace(">", "be_")
    arrays[name + "_rows"] = values
    arrays[name + "_columns"] = np.asfortranarray(values)
arrays["flat"] = np.arange(4, dtype="<f4")
arrays["complex"] = np.zeros((4, 2), dtype=complex)
arrays["half"] = np.zeros((4, 2), dtype="<f2")
arrays["text"] = np.array(["a", "b"])
arrays["records"] = np.zeros(4, dtype=[("a", "<f4"), ("b", "<i4")])
arrays["scalar"] = np.array(3.0)
arrays["empty"] = np.zeros((0, 3))
np.savez_compressed("dtypes.npz", **arrays)
np.savez("stored.npz", x=np.arange(8).reshape(4, 2) / 2, y=np.array([0, 2, 1, 0]))
images = np.arange(12, dtype="u1").reshape(3, 2, 2) * 20
np.savez_compressed("keras.npz", x_train=images, y_train=np.array([0, 1, 1], "u1"), x_test=images[:2], y_test=np.array([2, 0], "u1"))
