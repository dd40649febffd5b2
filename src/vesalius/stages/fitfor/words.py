"""Every reason for refusing a study or being careful with it, in English and Chinese."""

from __future__ import annotations

from typing import Any

from vesalius.stages.fitfor.base import Reason

WORDS: dict[str, tuple[bool, str, str]] = {
    "empty": (True, "Nothing is on this image: every sample has the same value.", "该影像为空：所有像素值都相同。"),
    "axes": (True, "This is a study of {got} axes; the model reads {known}.", "该检查为 {got} 维，而模型读取的是 {known} 维。"),
    "modality": (True, "The modality is {got}; the model was trained on {known}.", "成像方式为 {got}；模型的训练数据为 {known}。"),
    "body-part": (True, "The body part is {got}; the model was trained on {known}.", "检查部位为 {got}；模型的训练数据为 {known}。"),
    "view": (False, "The view is {got}; the training images had {known}.", "投照体位为 {got}；训练影像为 {known}。"),
    "plane": (True, "The plane is {got}; the training images were {known}.", "切面方向为 {got}；训练影像为 {known}。"),
    "stack": (False, "The slices lie {got}; those of the training images {known}.", "层面方向为 {got}；训练影像为 {known}。"),
    "colour": (True, "This is a colour picture; the training images were grey.", "这是彩色图片；训练影像均为灰度。"),
    "grey": (True, "This is a grey picture; the training images were in colour.", "这是灰度图片；训练影像均为彩色。"),
    "bits": (False, "The file has {got} bits a sample; the training images had {known}.", "文件每像素 {got} 位；训练影像为 {known} 位。"),
    "size": (False, "The image has {got} samples along its shorter side; the training images had {known}.", "影像短边为 {got} 像素；训练影像为 {known}。"),
    "too-small": (True, "The image has only {got} samples along its shorter side; the training images had {known}.",
                  "影像短边只有 {got} 像素；训练影像为 {known}。"),
    "proportions": (False, "The sides of the image have the ratio {got}; in the training images it was {known}.", "影像边长之比为 {got}；训练影像为 {known}。"),
    "spacing": (False, "The spacing is {got} mm; the training images had {known} mm.", "像素间距为 {got} mm；训练影像为 {known} mm。"),
    "spacing-far": (True, "The spacing is {got} mm; the training images had {known} mm.", "像素间距为 {got} mm；训练影像为 {known} mm。"),
    "spacing-unknown": (False, "The file states no spacing; the training images did.", "文件未说明像素间距；训练影像均有说明。"),
    "intensity": (False, "The values of the image ({got}) reach beyond those of the training images ({known}).",
                  "影像的数值范围（{got}）超出训练影像的范围（{known}）。"),
    "intensity-far": (True, "The values of the image ({got}) lie outside of those of the training images ({known}).",
                      "影像的数值（{got}）不在训练影像的范围（{known}）之内。"),
    "quarter-turn": (True, "The image looks turned by 90°.", "影像似乎旋转了 90°。"),
    "half-turn": (True, "The image looks turned by 180°.", "影像似乎旋转了 180°。"),
    "upside-down": (True, "The image looks upside down (mirrored).", "影像似乎上下颠倒（镜像）。"),
    "reversed-first": (True, "The first and last slices of the volume look exchanged.", "体数据的首尾层面似乎颠倒。"),
    "reversed-middle": (True, "Front and back of the volume look exchanged.", "体数据的前后方向似乎颠倒。"),
    "inverted": (True, "Black and white look exchanged.", "影像的黑白似乎反转。"),
    "noisy": (True, "The image is much noisier than the training images.", "影像的噪声远高于训练影像。"),
    "blurred": (False, "The image is more blurred than the training images.", "影像比训练影像模糊。"),
    "mirrored": (False, "Left and right look exchanged.", "影像的左右似乎颠倒。"),
    "unlike": (True, "The image is unlike the training images: {got} times as far from them as almost all of their own kind.",
               "该影像与训练影像不同：与它们的距离是几乎所有同类影像的 {got} 倍。"),
    "unlike-inside": (True, "The network sees in the image what it did not see in training: {got} times as far as almost all images of its kind.",
                      "网络在该影像中看到了训练时未见过的内容：距离是几乎所有同类影像的 {got} 倍。"),
    "unusual": (False, "The image is unusual among the training images.", "该影像在训练影像中较为少见。"),
    "no-statistics": (False, "This model holds no statistics of its training images: whether it should be used on this study was not judged.",
                      "该模型未保存训练影像的统计信息：未判断它是否适用于此检查。"),
}
"""By code: whether it refuses, English, Chinese; ``{got}`` is this study's, ``{known}`` the training images'."""
PLANES = {"axial": "横断面", "coronal": "冠状面", "sagittal": "矢状面"}


def reason(code: str, got: Any = "", known: Any = "") -> Reason:
    """The reason of that code with its facts.

    >>> reason("modality", "MR", "CT").en
    'The modality is MR; the model was trained on CT.'
    """
    refuses, en, zh = WORDS[code]
    chinese = [", ".join(PLANES.get(part, part) for part in str(fact).split(", ")) for fact in (got, known)]
    return Reason(code, refuses, en.format(got=got, known=known), zh.format(got=chinese[0], known=chinese[1]))
