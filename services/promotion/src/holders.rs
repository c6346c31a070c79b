//! Who holds which coupon of a promotion.
//!
//! Coupons lie in the order of their serials, in chunks of bytes that never move again once they are
//! full; a customer's newest one is found through an index of serials. So a coupon costs about as many
//! bytes as its customer's id and twenty more, and none ever waits until millions of others are moved.

use std::fmt;
use std::hash::BuildHasher;

use bytes::{Buf, BufMut};
use foldhash::quality::RandomState;
use prost::encoding::{decode_varint, encode_varint};

use crate::index::Index;
use crate::promotion::Inconsistent;

/// Coupons in a chunk.
const CHUNK: usize = 4_096;

#[derive(Clone, Default)]
pub(crate) struct Holders {
    chunks: Vec<Chunk>,
    /// Of each customer the newest coupon.
    newest: Index,
    /// Of each customer and idempotency key the coupon.
    keyed: Index,
    hasher: RandomState,
}

#[derive(Clone, Default, PartialEq)]
struct Chunk {
    /// Where in the bytes each coupon begins.
    starts: Vec<u32>,
    bytes: Vec<u8>,
}

/// A coupon and who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coupon<'a> {
    pub(crate) serial: u32,
    pub(crate) customer_id: &'a [u8],
    /// The request's key; empty where it had none.
    pub(crate) key: &'a [u8],
    pub(crate) at_ms: i64,
    /// How many coupons the customer holds, this one and earlier ones.
    pub(crate) nth: u32,
}

impl Holders {
    /// Coupons given, and the serial of the last one.
    pub(crate) fn len(&self) -> u32 {
        let (full, last) = (self.chunks.len().saturating_sub(1), self.chunks.last());
        let len = full * CHUNK + last.map_or(0, |chunk| chunk.starts.len());
        u32::try_from(len).expect("serials are numbers of 32 bits")
    }

    /// Whether any of them was asked for with a key.
    pub(crate) fn has_keys(&self) -> bool {
        !self.keyed.is_empty()
    }

    /// The customer's newest coupon.
    pub(crate) fn newest(&self, customer_id: &str) -> Option<Coupon<'_>> {
        self.newest_of(self.hash(customer_id.as_bytes(), b""), customer_id)
    }

    fn newest_of(&self, hash: u32, customer_id: &str) -> Option<Coupon<'_>> {
        let is_theirs = |serial| self.get(serial).customer_id == customer_id.as_bytes();
        self.newest.find(hash, is_theirs).map(|serial| self.get(serial))
    }

    /// The coupon that the customer was given for a request with this key.
    pub(crate) fn of_key(&self, customer_id: &str, key: &str) -> Option<Coupon<'_>> {
        if key.is_empty() || self.keyed.is_empty() {
            return None;
        }
        let is_it = |serial| {
            let coupon = self.get(serial);
            coupon.customer_id == customer_id.as_bytes() && coupon.key == key.as_bytes()
        };
        self.keyed
            .find(self.hash(customer_id.as_bytes(), key.as_bytes()), is_it)
            .map(|serial| self.get(serial))
    }

    /// Gives the coupon of the next serial, unless the customer holds as many as the limit, or one for
    /// this key.
    pub(crate) fn grant(
        &mut self,
        customer_id: &str,
        key: &str,
        at_ms: i64,
        limit: u32,
    ) -> Result<(), Inconsistent> {
        let hash = self.hash(customer_id.as_bytes(), b"");
        let before = self.newest_of(hash, customer_id).map(|coupon| (coupon.serial, coupon.nth));
        let nth = before.map_or(0, |(_, nth)| nth) + 1;
        if nth > limit {
            return Err(Inconsistent("a customer over the limit"));
        }
        if self.of_key(customer_id, key).is_some() {
            return Err(Inconsistent("a second coupon for one request"));
        }
        let serial = self.push(customer_id, key, at_ms, nth);
        match before {
            Some((before, _)) => self.newest.replace(hash, before, serial),
            None => self.newest.insert(hash, serial),
        }
        if !key.is_empty() {
            self.keyed.insert(self.hash(customer_id.as_bytes(), key.as_bytes()), serial);
        }
        Ok(())
    }

    /// The same for what a snapshot says, which was checked once. Where nobody can have one already it
    /// is not found before [`Holders::restored`].
    pub(crate) fn grant_again(
        &mut self,
        customer_id: &str,
        key: &str,
        at_ms: i64,
        limit: u32,
    ) -> Result<(), Inconsistent> {
        if limit > 1 {
            return self.grant(customer_id, key, at_ms, limit);
        }
        self.push(customer_id, "", at_ms, 1);
        Ok(())
    }

    /// Makes what was given again findable.
    pub(crate) fn restored(&mut self) {
        if self.newest.is_empty() {
            let hashes: Vec<u32> =
                self.iter().map(|coupon| self.hash(coupon.customer_id, b"")).collect();
            self.newest = Index::of(&hashes);
        }
    }

    fn push(&mut self, customer_id: &str, key: &str, at_ms: i64, nth: u32) -> u32 {
        let serial = self.len() + 1;
        if self.chunks.last().is_none_or(|chunk| chunk.starts.len() == CHUNK) {
            let like = self.chunks.last().map_or(0, |chunk| chunk.bytes.len());
            let (starts, bytes) = (Vec::new(), Vec::with_capacity(like));
            self.chunks.push(Chunk { starts, bytes });
        }
        let chunk = self.chunks.last_mut().expect("there is one");
        chunk.push(customer_id.as_bytes(), key.as_bytes(), at_ms, nth);
        serial
    }

    /// All coupons in the order of their serials.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Coupon<'_>> {
        (1..=self.len()).map(|serial| self.get(serial))
    }

    fn get(&self, serial: u32) -> Coupon<'_> {
        let place = serial as usize - 1;
        self.chunks[place / CHUNK].get(place % CHUNK, serial)
    }

    /// Half of it: collisions are told apart by what they mean.
    fn hash(&self, customer_id: &[u8], key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one((customer_id, key));
        u32::try_from(hash >> 32).expect("32 bits")
    }
}

impl Chunk {
    fn push(&mut self, customer_id: &[u8], key: &[u8], at_ms: i64, nth: u32) {
        let start = u32::try_from(self.bytes.len()).expect("ids are short, and a chunk has few");
        self.starts.push(start);
        for text in [customer_id, key] {
            encode_varint(text.len() as u64, &mut self.bytes);
            self.bytes.put_slice(text);
        }
        self.bytes.put_i64_le(at_ms);
        encode_varint(u64::from(nth), &mut self.bytes);
        if self.starts.len() == CHUNK {
            self.bytes.shrink_to_fit();
        }
    }

    fn get(&self, place: usize, serial: u32) -> Coupon<'_> {
        let mut rest = &self.bytes[self.starts[place] as usize..];
        let (customer_id, key) = (text(&mut rest), text(&mut rest));
        let (at_ms, nth) = (rest.get_i64_le(), varint(&mut rest));
        Coupon { serial, customer_id, key, at_ms, nth }
    }
}

fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = varint(rest) as usize;
    let (text, after) = rest.split_at(length);
    *rest = after;
    text
}

/// Of what [`Chunk::push`] wrote, and nobody else.
fn varint(rest: &mut &[u8]) -> u32 {
    let number = decode_varint(rest).ok().and_then(|number| u32::try_from(number).ok());
    number.expect("a number as it was written")
}

impl PartialEq for Holders {
    fn eq(&self, other: &Self) -> bool {
        self.chunks == other.chunks
    }
}

impl fmt::Debug for Holders {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coupons_are_found_by_serial_customer_and_key() {
        let mut holders = Holders::default();
        assert!(holders.newest("nobody").is_none() && holders.iter().next().is_none());
        for number in 0..20_000 {
            assert_eq!(holders.grant(&format!("customer {number}"), "", number, 1), Ok(()));
        }
        assert_eq!(holders.grant("customer 5", "k1", 7, 3), Ok(()));
        assert!(holders.grant("customer 5", "k1", 7, 3).is_err(), "for one request");
        assert_eq!(holders.grant("customer 5", "k2", 8, 3), Ok(()));
        assert!(holders.grant("customer 5", "k3", 8, 3).is_err(), "over the limit");
        assert_eq!((holders.len(), holders.has_keys()), (20_002, true));
        let found = holders.newest("customer 12345").expect("a coupon");
        assert_eq!((found.serial, found.at_ms, found.nth), (12_346, 12_345, 1));
        let newest = holders.newest("customer 5").expect("a coupon");
        assert_eq!((newest.serial, newest.key, newest.nth), (20_002, &b"k2"[..], 3));
        assert_eq!(holders.of_key("customer 5", "k1").map(|coupon| coupon.serial), Some(20_001));
        assert!(holders.of_key("customer 6", "k1").is_none());
        assert!(holders.of_key("customer 5", "").is_none());
        let serials: Vec<u32> = holders.iter().map(|coupon| coupon.serial).collect();
        assert_eq!(serials, (1..=20_002).collect::<Vec<_>>());
    }
}
