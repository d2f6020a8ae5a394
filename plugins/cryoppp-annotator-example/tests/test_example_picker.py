"""What every picker's tests begin with."""

from cryoppp_annotator.extensions import pickers
from cryoppp_annotator.testing import check_picker


def test_it_is_found_by_its_entry_point_and_keeps_to_the_rules() -> None:
    check_picker(pickers()["example"])
