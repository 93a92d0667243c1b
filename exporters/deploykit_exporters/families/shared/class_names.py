"""The names of a model's classes: those given by the user, else those in the file, else known ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploykit_runtimes.errors import OptionError

from deploykit_exporters.families.base import Hints

__all__ = ["ASSUMED_IMAGENET", "class_names", "given_names", "given_or_listed"]

ASSUMED_IMAGENET = "The 1000 classes are those of ImageNet-1k."


def given_names(hints: Hints, count: int) -> tuple[str, ...] | None:
    """The names given by the user with ``--labels``; None if there are none.

    Raises:
        OptionError: the number of names differs from the number of classes.
    """
    if hints.labels is not None and len(hints.labels) != count:
        raise OptionError(
            f"--labels gives {len(hints.labels)} names, the model has {count} classes.",
            hint="Give one name per line, as many as the model has classes.",
        )
    return hints.labels


def class_names(
    hints: Hints, found: tuple[str, ...], count: int, *, of_imagenet: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names of a classifier, and what was assumed about them.

    The user's names take precedence over those in the file; 1000 classes without names are ImageNet's.

    Args:
        hints, found: What the user and the file say.
        count: The number of classes.
        of_imagenet: The file says that it was trained on ImageNet.

    Raises:
        OptionError: the number of the user's names differs from the number of classes.
    """
    given = given_names(hints, count)
    if given is not None:
        return given, ()
    if len(found) == count:
        return found, ()
    left_out = (
        (f"The file names {len(found)} classes, the model has {count}: the names are left out.",)
        if found
        else ()
    )
    if count == 1000:
        from deploykit_exporters.families.shared.imagenet import imagenet_class_names

        return imagenet_class_names(), left_out if of_imagenet else (*left_out, ASSUMED_IMAGENET)
    return (), left_out


def given_or_listed(hints: Hints, names: object, count: int) -> tuple[str, ...]:
    """The user's names, otherwise the checkpoint's (a list, or a dictionary by index); empty if some class
    has no name.

    Raises:
        OptionError: the number of the user's names differs from the number of classes.
    """
    given = given_names(hints, count)
    if given is not None:
        return given
    if isinstance(names, Mapping):
        # Keys are text where the names went through JSON; names are numbers where the classes are digits.
        keyed = {str(index): name for index, name in names.items()}
        names = [keyed.get(str(index)) for index in range(count)]
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) != count:
        return ()
    return tuple(map(str, names)) if all(isinstance(name, str | int | float) for name in names) else ()
