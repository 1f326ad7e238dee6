//! Windows that are read where they lie. Where columns are lines (the places of a row of an image) that follow one
//! another, the microkernel reads across the gaps between lines as if there were none: what it computes of a gap is
//! not stored. So a sliver of B is always a run of memory.

use std::ops::Range;

use super::blocks::MOST_COLUMNS;
use crate::cursor::Lines;

/// Packing a sliver of windows takes as long as the products of so many rows.
const ROWS_OF_PACKING: usize = 10;

/// How windows are read where they lie: columns are *places*, counted along the lines and the gaps between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InPlace {
    lines: Lines,
}

impl InPlace {
    /// Where that costs less than packing for products of `m` rows, and there is a whole sliver of `width` places.
    pub fn new(lines: Lines, m: usize, width: usize) -> Option<InPlace> {
        let in_place = InPlace { lines };
        let gap = match lines.count {
            1 => 0,
            _ => (lines.apart as usize).saturating_sub(lines.length),
        };
        let pays = m.saturating_mul(gap) <= ROWS_OF_PACKING * lines.length;
        (pays && lines.at == 0 && in_place.places() >= width).then_some(in_place)
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        let Lines {
            apart,
            length,
            count,
            ..
        } = self.lines;
        (count - 1) * apart as usize + length
    }

    /// The columns before a place.
    pub fn columns_before(&self, place: usize) -> usize {
        let Lines { apart, length, .. } = self.lines;
        let (line, at) = (place / apart as usize, place % apart as usize);
        line * length + at.min(length)
    }

    /// What a sliver of `WIDTH` places computes of `places`, of which there are no more: one that would reach beyond
    /// the end begins before them.
    pub(super) fn pieces<const WIDTH: usize>(&self, places: Range<usize>) -> Pieces {
        let first = places.start.min(self.places() - WIDTH);
        let Lines { apart, length, .. } = self.lines;
        let mut pieces = Pieces {
            first,
            ..Pieces::default()
        };
        let mut place = places.start;
        while place < places.end {
            let (line, at) = (place / apart as usize, place % apart as usize);
            let end = places.end.min(place + length.saturating_sub(at));
            if place < end {
                pieces.push(Piece {
                    lane: place - first,
                    count: end - place,
                    column: line * length + at,
                });
            }
            place = (line + 1) * apart as usize;
        }
        pieces
    }
}

/// Neighbouring columns of C that lanes of a sliver compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub lane: usize,
    pub count: usize,
    pub column: usize,
}

/// What is stored of a sliver.
#[derive(Clone, Copy, Default)]
pub(super) struct Pieces {
    /// The column or place of its first lane.
    pub first: usize,
    pieces: [Piece; MOST_COLUMNS],
    count: usize,
}

impl Pieces {
    /// The first of its lanes, for columns that follow one another.
    pub fn whole(columns: Range<usize>) -> Pieces {
        let mut pieces = Pieces {
            first: columns.start,
            ..Pieces::default()
        };
        pieces.push(Piece {
            lane: 0,
            count: columns.len(),
            column: columns.start,
        });
        pieces
    }

    fn push(&mut self, piece: Piece) {
        self.pieces[self.count] = piece;
        self.count += 1;
    }

    pub fn each(&self) -> &[Piece] {
        &self.pieces[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each column is computed once, by the lane of its place.
    #[test]
    fn slivers_cover_all_columns() {
        const WIDTH: usize = 8;
        for (length, gap, count) in [
            (5, 2, 4),
            (8, 1, 3),
            (1, 1, 20),
            (30, 3, 2),
            (9, 0, 1),
            (8, 0, 5),
        ] {
            let lines = Lines {
                at: 0,
                apart: (length + gap) as isize,
                length,
                count,
            };
            let in_place = InPlace::new(lines, 0, WIDTH).unwrap();
            let mut columns = 0;
            for place in (0..in_place.places()).step_by(WIDTH) {
                assert_eq!(columns, in_place.columns_before(place));
                let end = in_place.places().min(place + WIDTH);
                let pieces = in_place.pieces::<WIDTH>(place..end);
                assert!(pieces.first + WIDTH <= in_place.places());
                for piece in pieces.each() {
                    assert_eq!(piece.column, columns);
                    let place = columns / length * (length + gap) + columns % length;
                    assert_eq!(pieces.first + piece.lane, place);
                    assert!(piece.lane + piece.count <= WIDTH);
                    columns += piece.count;
                }
            }
            assert_eq!(columns, length * count);
            assert_eq!(in_place.columns_before(in_place.places()), columns);
        }
    }
}
