import numpy as np
import pytest

from ghostfit.vision.decode import decode_classification
from ghostfit.vision.draw import Mark, annotate, colour_of_class, draw, draw_marks
from ghostfit.vision.results import ClassMap, Detections


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 8), (32, 32), (300, 700), (200, 20)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_bar_stands_below_and_the_image_is_kept(size_hw, channels, threshold):
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, channels), np.uint8)
    name = "a very long class name, größer als das Bild"
    result = decode_classification(np.zeros((1, 2)), class_names=(name, "b"), threshold=threshold)[0]
    drawn = annotate(image, result)
    assert drawn.shape[0] > size_hw[0]
    assert drawn.shape[1:] == (size_hw[1], 3)
    np.testing.assert_array_equal(drawn[: size_hw[0]], np.broadcast_to(image, (*size_hw, 3)))


IMAGE = np.full((120, 160, 3), 100, np.uint8)


def detections(boxes, class_ids, *, masks=None, class_names=("cat", "dog")):
    scores = np.linspace(0.9, 0.5, len(boxes))
    return Detections(np.array(boxes), scores, np.array(class_ids), class_names, IMAGE.shape[:2], masks)


@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_are_outlined_in_the_colour_of_their_class(channels):
    drawn = draw(detections([[20, 40, 90, 110], [100, 50, 150, 100]], [1, 0]), IMAGE[:, :, :channels])
    assert drawn.shape == IMAGE.shape
    for (left, top, right, bottom), class_id in (((20, 40, 90, 110), 1), ((100, 50, 150, 100), 0)):
        assert (drawn[bottom - 1, left:right] == colour_of_class(class_id)).all()
        assert (drawn[top:bottom, right - 1] == colour_of_class(class_id)).all()
        np.testing.assert_array_equal(drawn[top + 2 : bottom - 2, left + 2 : right - 2], 100)
    np.testing.assert_array_equal(IMAGE, 100)


def test_words_neither_cover_each_other_nor_objects():
    crowd = [[10, 50, 60, 100], [12, 52, 62, 102], [70, 45, 90, 49], [70, 58, 130, 110]]  # the third under words
    drawn = draw_marks(IMAGE, [Mark(box, (255, 0, 0), f"object {i}") for i, box in enumerate(crowd)])
    bare = draw_marks(IMAGE, [Mark(box, (255, 0, 0)) for box in crowd])
    written = (drawn != bare).any(axis=2)
    assert written[40:52, 12:60].any(), "the words of the second, which was given later than the first"
    alone = draw_marks(IMAGE, [Mark(crowd[1], (255, 0, 0), "object 1"), *(Mark(box, (255, 0, 0)) for box in crowd)])
    np.testing.assert_array_equal(drawn[40:52, :66], alone[40:52, :66])
    assert not written[47, 80], "the middle of the third"


def test_masks_of_an_only_class_are_told_apart():
    masks = np.zeros((2, *IMAGE.shape[:2]), bool)
    masks[0, 40:80, 20:60] = masks[1, 40:80, 60:100] = True
    boxes = [[20, 40, 60, 80], [60, 40, 100, 80]]
    only = draw(detections(boxes, [0, 0], masks=masks, class_names=("cell",)), IMAGE)
    several = draw(detections(boxes, [0, 0], masks=masks), IMAGE)
    assert (only[70, 40] != only[70, 80]).any() and (several[70, 40] == several[70, 80]).all()
    assert (only[70, 40] != 100).any() and (only[100, 40] == 100).all()


def test_class_maps_have_a_legend_of_what_is_there():
    class_map = np.zeros(IMAGE.shape[:2], np.uint8)
    class_map[:, 80:] = 2
    drawn = draw(ClassMap(class_map, ("sky", "road", "tree")), IMAGE)
    assert (drawn[60, 40] != drawn[60, 120]).any() and drawn.shape[1:] == IMAGE.shape[1:]
    legend = drawn[IMAGE.shape[0] :].reshape(-1, 3).tolist()
    assert list(colour_of_class(0)) in legend and list(colour_of_class(2)) in legend
    assert list(colour_of_class(1)) not in legend


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 200), (200, 3)])
def test_tiny_images_are_drawn_on_too(size_hw):
    image = np.zeros((*size_hw, 3), np.uint8)
    found = Detections(np.array([[0, 0, size_hw[1], size_hw[0]]]), np.ones(1), np.zeros(1), ("a long name",), size_hw)
    assert draw(found, image).shape == image.shape
    assert draw(ClassMap(np.zeros(size_hw, np.uint8), ("a long name",)), image).shape[1] == size_hw[1]


def test_what_cannot_be_drawn():
    with pytest.raises(TypeError, match="a str can't be drawn"):
        draw("cat", IMAGE)
