"""Copying input into scratch: zeros where lines lie outside the plane, numbers `step` apart side by side.

    dst[u][v][p][j] = src[first_row + v + p*row_step][first_column + offsets[u] + j*step], or 0 outside the plane

This is where padding and stride disappear: whoever reads the scratch reads whole vectors at unit stride. Lines of one or two vectors are
loaded with their zeros and picked apart in registers, one vector of all rows before the next, so that masks are made once for all. Longer
rows are first copied to a line with its zeros, if they need any, then picked apart: with one to ten shuffles a vector, where gathering
would take twenty cycles or, on CPUs that had to slow it down, many times that. Where many planes begin at neighbouring columns, what each
position has of all planes is loaded and transposed; what lies between windows that are apart is not read. Lines as long as the plane's
rows, one behind the other, are the plane moved on by some numbers with zeros where a row has none: whole vectors, however short the rows.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.packed_layout import SEVERAL, SHORT, TRANSPOSED, panel_of
from kernels.runtime.ir import I32, VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class PackInput(NamedTuple):
    """What packing takes; see above. Whole vectors are written, so up to a vector past each line's end, ascending."""

    step: Fixed  # a Layout's `picking`
    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of what is packed
    line: int  # address of scratch for `reach` numbers
    offsets: int  # address of the first columns of the planes
    columns: int  # how many planes,
    column_stride: int  # so far apart
    phases: int  # input rows that take turns,
    phase_stride: int  # whose lines are so far apart
    positions: int  # lines of a plane,
    pitch: int  # so far apart
    numbers: int  # in a line
    span: int  # input columns that all lines of a row cover
    reach: int  # numbers of a row that are read where it is picked apart; see `row_numbers`
    src: int  # address of the first plane
    first_row: int  # of the plane, may be outside it; so may be the column
    row_step: int
    first_column: int
    column_step: int
    height: int  # of the plane
    width: int
    ahead: int  # how many elements further lies what is packed next, which is prefetched (samplecnn.conv2 4.8 to 4.2 ms)
    times: int  # how many planes, one behind the other,
    dst_step: int  # whose packed ones are so many elements apart


def _whole(b: ir.IRBuilder, count: ir.Value, lanes: int) -> ir.Value:
    """Vectors that hold so many numbers."""
    return b.sdiv(b.add(count, i64(lanes - 1)), i64(lanes))


class _Line(NamedTuple):
    """A line with its zeros."""

    dst: int
    src: int
    numbers: int
    low: int  # the first number that is on the plane
    high: int  # the first behind it


@emitter
def _line(w: VectorBuilder, p: PackInput, line: _Line) -> None:
    """dst[j] = src[j] for low <= j < high, else 0, for j < count rounded up to whole vectors; src[j + ahead] is prefetched."""
    b, lanes = w.b, p.lanes
    to, source = w.pointer(line.dst), w.pointer(line.src)
    with w.loop(_whole(b, line.numbers, lanes)) as vector:
        j = b.mul(vector, i64(lanes))
        w.prefetch(w.at(w.at(source, j), p.ahead))
        w.store(w.load_first(w.at(source, j), w.between(j, line.low, line.high)), w.at(to, j))


@emitter
def _prefetched(w: VectorBuilder, p: PackInput, src: ir.Value) -> None:
    """Prefetch what lies `ahead` of a row that is picked where it lies."""
    b = w.b
    there = w.at(w.pointer(src), p.ahead)
    with w.loop(_whole(b, p.span, p.lanes)) as vector:
        w.prefetch(w.at(there, b.mul(vector, i64(p.lanes))))


class _Lines(NamedTuple):
    """The lines of a phase."""

    dst: int
    src: int  # address of the plane
    row: int  # of the plane, of the first
    rows: int  # from the plane on that may be read


@emitter
def _short_lines(w: VectorBuilder, p: PackInput, lines: _Lines) -> None:
    """dst[u][i][j] = src[row + i*row_step][first_column + offsets[u] + j*step], or 0 outside the plane, for lines i and j < numbers; the
    last vector of all lines first: what it writes past a line's end is written after it. The numbers `ahead` are prefetched."""
    b, lanes, step = w.b, p.lanes, p.step
    if step <= 0:
        return
    vectors = _whole(b, p.numbers, lanes)
    by_row = b.mul(p.row_step, p.width)
    plane = w.pointer(lines.src, b.add(b.mul(lines.row, p.width), p.first_column))
    with w.loop(vectors) as done:
        j = b.mul(b.sub(b.sub(vectors, i64(1)), done), i64(lanes))
        first = b.mul(j, i64(step))
        with w.loop(p.positions) as i:
            there = w.at(w.at(plane, b.mul(i, by_row)), b.add(first, p.ahead))
            for part in range(step):
                w.prefetch(w.at(there, part * lanes))
        with w.loop(p.columns) as u:
            column = b.add(first, w.load_index(p.offsets, u))
            low, high = b.neg(p.first_column), b.sub(p.width, p.first_column)
            masks = [w.between(b.add(column, i64(part * lanes)), low, high) for part in range(step)]
            source, to = w.at(plane, column), w.pointer(lines.dst, b.add(b.mul(u, p.column_stride), j))
            with w.loop(p.positions) as i:
                inside = w.splat_bit(b.icmp_unsigned("<", b.add(lines.row, b.mul(i, p.row_step)), p.height))
                row = w.at(source, b.mul(i, by_row))
                parts = [w.load_first(w.at(row, part * lanes), b.and_(mask, inside)) for part, mask in enumerate(masks)]
                w.store(w.every(parts, 0) if step > 1 else parts[0], w.at(to, b.mul(i, p.pitch)))


@emitter
def _pick(w: VectorBuilder, p: PackInput, line: ir.Value, dst: ir.Value) -> None:
    """dst[u][j] = line[offsets[u] + j*step] for every plane u and j < numbers, whole vectors."""
    b, lanes = w.b, p.lanes
    if p.step == TRANSPOSED:
        return
    vectors = _whole(b, p.numbers, lanes)
    with w.loop(p.columns) as u:
        source, to = w.at(w.pointer(line), w.load_index(p.offsets, u)), w.pointer(dst, b.mul(u, p.column_stride))
        if p.step:
            with w.loop(vectors) as vector:
                j = b.mul(vector, i64(lanes))
                w.store(w.load_strided(w.at(source, b.mul(j, i64(p.step))), p.step), w.at(to, j))
        else:
            with w.loop(p.numbers) as j:
                b.store(w.load_scalar(w.at(source, b.mul(j, p.column_step))), w.at(to, j))


def _columns(w: VectorBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Of as many rows as w has lanes, each of half as many numbers: every column in a vector."""
    count = len(rows) // 2
    together = ir.Constant(ir.VectorType(I32, w.lanes), list(range(w.lanes)))
    pairs = [w.b.shuffle_vector(*pair, together) for pair in zip(rows[:count], rows[count:])]
    orders = ([half + start + i // 2 + w.lanes * (i % 2) for half in (0, count) for i in range(count)] for start in (0, count // 2))
    low, high = (ir.Constant(ir.VectorType(I32, w.lanes), order) for order in orders)
    for _ in range(count.bit_length() - 1):  # as `interleaved` does, in either half
        pairs = [w.b.shuffle_vector(*pair, order) for pair in zip(pairs[: count // 2], pairs[count // 2 :]) for order in (low, high)]
    return pairs


class _Positions(NamedTuple):
    """Positions of a line that fill a vector."""

    to: ir.Value  # address of the first plane's
    line: ir.Value  # address of the plane's row
    first: ir.Value  # of these positions
    column: ir.Value  # of the row, where the first begins
    width: ir.Value  # columns of the row, 0 outside the plane
    rest: ir.Value  # numbers from the row on that may be read


def _panels(w: VectorBuilder, p: PackInput, at: _Positions, lanes: int) -> None:
    """All columns of `lanes` positions, a vector or half of one: loaded so many at a time as `panel_of` says, and transposed."""
    b, step = w.b, p.column_step
    reader, writer = (VectorBuilder(b, count, w.itemsize) for count in (panel_of(w.lanes), lanes))

    def at_most(count: ir.Value, limit: int) -> ir.Value:
        return b.select(b.icmp_signed("<", count, i64(limit)), count, i64(limit))

    with w.loop(_whole(b, p.columns, reader.lanes)) as panel:
        u = b.mul(panel, i64(reader.lanes))
        # every position's and every plane's place from the first one's: LLVM would keep a pointer for each, on the stack
        first, to = w.opaque(b.add(at.column, u)), w.pointer(w.opaque(w.address(at.to, b.mul(u, p.column_stride))))
        source = w.pointer(at.line, first)
        positions, wanted = at_most(b.sub(p.numbers, at.first), lanes), at_most(b.sub(p.columns, u), reader.lanes)
        end = b.add(b.add(first, b.mul(step, b.sub(positions, i64(1)))), wanted)
        readable = b.icmp_signed("<=", b.add(b.add(first, b.mul(step, i64(lanes - 1))), i64(reader.lanes)), at.rest)
        inside = b.and_(b.and_(b.icmp_signed(">=", first, i64(0)), b.icmp_signed("<=", end, at.width)), readable)
        steps = [b.mul(step, i64(position)) for position in range(lanes)]
        rows = [w.variable(reader.zero()) for _ in steps]
        with b.if_else(inside, likely=True) as (within, across):
            with within:
                for slot, by in zip(rows, steps):
                    w.set(slot, reader.load(w.at(source, by)))
            with across:
                for slot, by in zip(rows, steps):
                    w.set(slot, reader.load_first(w.at(source, by), reader.between(b.add(first, by), i64(0), at.width)))
        loaded = [w.get(slot) for slot in rows]
        for plane, numbers in enumerate(writer.interleaved(loaded) if lanes == reader.lanes else _columns(w, loaded)):
            with w.when(b.icmp_signed(">", wanted, i64(plane)), likely=True):
                writer.store(numbers, w.at(to, b.mul(p.column_stride, i64(plane))))


@emitter
def _transposed_lines(w: VectorBuilder, p: PackInput, lines: _Lines) -> None:
    """dst[u][i][j] = src[row + i*row_step][first_column + offsets[0] + u + j*step], or 0 outside the plane, for planes that begin at
    neighbouring columns: what some positions have of some columns is loaded where it lies and transposed. Positions past a line's end
    may be read as well, where memory goes on. The step is more than 1: `packed_layout` chooses this way for no other."""
    b = w.b
    if p.step != TRANSPOSED:
        return
    start = b.add(p.first_column, w.load_index(p.offsets, i64(0)))
    with w.loop(p.positions) as i:
        row = b.add(lines.row, b.mul(i, p.row_step))
        width = b.select(b.icmp_unsigned("<", row, p.height), p.width, i64(0))  # a row outside the plane has no columns
        line, rest = w.address(lines.src, b.mul(row, p.width)), b.mul(b.sub(lines.rows, row), p.width)
        with w.loop(_whole(b, p.numbers, p.lanes)) as vector:
            j = b.mul(vector, i64(p.lanes))
            to = w.address(lines.dst, b.add(b.mul(i, p.pitch), j))
            at = _Positions(to, line, j, b.add(start, b.mul(j, p.column_step)), width, rest)
            fewer = panel_of(p.lanes)
            if fewer == p.lanes:
                _panels(w, p, at, p.lanes)
            else:
                with b.if_else(b.icmp_signed(">", b.sub(p.numbers, j), i64(fewer))) as (many, few):
                    with many:
                        _panels(w, p, at, p.lanes)
                    with few:
                        _panels(w, p, at, fewer)


@emitter
def _moved(w: VectorBuilder, p: PackInput, line: _Line) -> None:
    """dst[u][j] = src[j + m], m = first_column + offsets[u], where low <= j < high and 0 <= j % width + m < width, else 0; for j < count
    rounded up to whole vectors. src[j + ahead] is prefetched."""
    b, lanes = w.b, p.lanes
    width, step = w.positions(p.width, 0), w.positions(b.srem(i64(lanes), p.width), 0)
    vectors = _whole(b, line.numbers, lanes)

    def wrapped(column: ir.Value) -> ir.Value:
        less = b.sub(column, width)  # below zero it is a large number
        return b.select(b.icmp_unsigned("<", less, column), less, column)

    first = w.variable(w.positions(i64(0), 1))
    with w.loop(b.sdiv(i64(lanes - 1), p.width)):
        w.set(first, wrapped(w.get(first)))
    with w.loop(vectors) as vector:
        w.prefetch(w.at(w.pointer(line.src, p.ahead), b.mul(vector, i64(lanes))))
    with w.loop(p.columns) as u:
        by = b.add(p.first_column, w.load_index(p.offsets, u))
        to, source = w.pointer(line.dst, b.mul(u, p.column_stride)), w.pointer(line.src, by)
        column = w.variable(w.get(first))
        with w.loop(vectors) as vector:
            j = b.mul(vector, i64(lanes))
            there = b.icmp_unsigned("<", b.add(w.get(column), w.positions(by, 0)), width)
            w.store(w.load_first(w.at(source, j), b.and_(there, w.between(j, line.low, line.high))), w.at(to, j))
            w.set(column, wrapped(b.add(w.get(column), step)))


@njit
def _pack(p):
    size, width = p.itemsize, p.width
    low, high = max(-p.first_column, 0), max(width - p.first_column, 0)
    alone = p.step == 1 and p.columns == 1
    whole_lines = p.phases == 1 and p.row_step == 1 and p.column_step == 1 and p.numbers == width and p.pitch == width
    above, below = max(-p.first_row, 0), max(min(p.height - p.first_row, p.positions), 0)
    short = p.step > 0 and p.numbers <= SHORT * p.lanes and p.positions >= SEVERAL
    total, begin, end = p.positions * width, above * width, max(above, below) * width
    for c in range(p.times):
        plane, own = p.src + c * p.height * width * size, p.dst + c * p.dst_step * size
        if whole_lines:
            start = plane + p.first_row * width * size
            if alone and p.first_column == 0:
                _line(p, _Line(own, start, total, begin, end))
            else:
                _moved(p, _Line(own, start, total, begin, end))
            continue
        for v in range(p.phases):
            to = own + v * p.phase_stride * size
            lines = _Lines(to, plane, p.first_row + v, (p.times - c) * p.height)
            if p.step == TRANSPOSED:
                _transposed_lines(p, lines)
                continue
            if short:
                _short_lines(p, lines)
                continue
            for position in range(p.positions):
                row = p.first_row + v + position * p.row_step
                inside = 0 <= row < p.height
                line = start = plane + (row * width + p.first_column) * size
                left = ((p.times - c) * p.height - row) * width - p.first_column  # numbers from there on
                if alone or not inside or low > 0 or high < p.span or left < p.reach:
                    line = p.line
                    _line(p, _Line(to if alone else line, start, p.span, low, high if inside else low))
                else:
                    _prefetched(p, (start,))
                if not alone:
                    _pick(p, (line, to))
                to += p.pitch * size


def row_numbers(picking: int, column_step: int, span: int, lanes: int) -> int:
    """Numbers of a row that are read where it is picked apart, and that its copy with zeros has room for: whole vectors, and what is read
    beyond the last column. All planes have lines of one length, so one that begins behind another ends up to a step behind the span.
    None where rows are read as they lie."""
    if picking == TRANSPOSED:
        return 0
    return span + lanes + max((lanes + 1) * picking, column_step)


def pack(step: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled packing of planes, which takes a PackInput."""
    return address(_pack, PackInput, step=step, lanes=lanes, itemsize=itemsize)
