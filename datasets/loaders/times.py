"""When things happened, in whatever form a log says it: unix seconds, finer units, dates.

A number's size tells its unit: seconds of the years 1973 to 2099 have nine or ten digits, milliseconds three more.
Smaller numbers are an order of their own (1, 2, 3, ...).
"""

from __future__ import annotations

import polars as pl

OLDEST, NEWEST = 100_000_000, 4_102_444_800  # seconds: 3 March 1973 and the end of 2099; in between, a unit is told
DAYS = (19_700_101, 20_991_231)  # where all numbers lie in between, they are dates without signs: 20240301
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
ORDER = "small numbers"
DATES = "dates"
FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
WITH_ZONE = ("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M%:z")


def read_times(given: pl.Series) -> pl.DataFrame:
    """What each value says: `seconds` (unix time) and `form` (a unit, `small numbers` or `dates`), each null where it
    can't be read; `form` is null beside `seconds` where they can be no time: negative, or after the year 2099.

    Dates without a zone are UTC. Fractions of a second are dropped.

    >>> read_times(pl.Series(["2024-03-01T10:00Z", "1709287200000", "soon", "-5"])).rows()
    [(1709287200, 'dates'), (1709287200, 'milliseconds'), (None, None), (-5, None)]
    """
    if given.dtype == pl.Date:
        given = given.cast(pl.Datetime("us"))
    if isinstance(given.dtype, pl.Datetime):
        return _dated(given.dt.epoch("s"))
    if given.dtype.is_numeric():
        return _numbered(given.cast(pl.Int64, strict=False))
    text = given.cast(pl.String, strict=False).str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if (whole.is_null() & text.is_not_null()).any():  # 1709287200.0 is what pandas writes
        whole = whole.zip_with(whole.is_not_null(), text.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False))
    read = _numbered(whole)
    left = whole.is_null() & text.is_not_null()
    if not left.any():
        return read
    dates = _dated(_iso_seconds(text.filter(left)))
    places = left.arg_true()
    return read.with_columns(
        seconds=read["seconds"].scatter(places, dates["seconds"]), form=read["form"].scatter(places, dates["form"])
    )


def _numbered(numbers: pl.Series) -> pl.DataFrame:
    """Seconds and unit by the size of the number."""
    if numbers.is_between(*DAYS).all() and numbers.is_not_null().any():
        return _dated(numbers.cast(pl.String).str.to_datetime("%Y%m%d", strict=False, time_unit="us").dt.epoch("s"))
    number = pl.col("number")
    unit = pl.when(number.is_between(0, OLDEST, closed="left")).then(pl.lit(ORDER))
    seconds = pl.when(False).then(number)
    for name, per_second in UNITS.items():
        fits = number.is_between(OLDEST * per_second, NEWEST * per_second, closed="left")
        unit, seconds = unit.when(fits).then(pl.lit(name)), seconds.when(fits).then(number // per_second)
    return pl.DataFrame({"number": numbers}).select(seconds=seconds.otherwise(number), form=unit)


def _dated(seconds: pl.Series) -> pl.DataFrame:
    """Seconds of dates; those before 1970 and after 2099 are none that a log can hold."""
    fits = pl.col("seconds").is_between(0, NEWEST, closed="left")
    return pl.DataFrame({"seconds": seconds}).with_columns(form=pl.when(fits).then(pl.lit(DATES)))


def _iso_seconds(text: pl.Series) -> pl.Series:
    """Unix seconds of ISO dates and date-times, null where the text is none."""
    one = pl.col("text").str.replace(r"^(\d{4}-\d\d-\d\d) +", "${1}T").str.replace(r" ?(Z|UTC)$", "+00:00")
    one = one.str.replace(r"(T.*[+-]\d\d):?(\d\d)$", "${1}:${2}")
    plain = [one.str.to_datetime(form, strict=False, time_unit="us") for form in FORMATS]
    zoned = [one.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC") for form in WITH_ZONE]
    found = pl.coalesce(*(stamp.dt.epoch("s") for stamp in (*plain, *zoned)))
    return pl.DataFrame({"text": text}).select(found.alias("seconds"))["seconds"]
