//! How often an address or a user may ask for something, and how fast a socket is read.
//!
//! Each has a bucket that fills at an even rate, up to what it may take at once. Addresses and
//! users share a fixed number of buckets, by a hash that nobody outside can foresee: so nobody
//! makes the server remember more by coming from many places, and who shares a bucket with a noisy
//! stranger is chance.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};

use super::config::Limits;
use crate::limits;
use crate::workspace::ANONYMOUS;

/// The address that a request comes from, where sockets have one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address(pub(super) IpAddr);

/// What addresses and users may ask for.
#[derive(Debug)]
pub(super) struct Rates {
    requests: Buckets,
    sockets: Buckets,
}

/// Buckets of one size.
#[derive(Debug)]
struct Buckets {
    all: DefaultKeyedRateLimiter<u64>,
    hash: RandomState,
    clock: DefaultClock,
}

/// How fast one socket is read.
#[derive(Debug)]
pub(super) struct Pace {
    bucket: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

/// So many in a second on the average, and those of some seconds at once.
fn quota(per_second: u32) -> Quota {
    let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
    let burst = NonZeroU32::new(per_second.saturating_mul(limits::RATE_BURST_S)).unwrap_or(rate);
    Quota::per_second(rate).allow_burst(burst)
}

impl Rates {
    /// The rates of a configuration.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            requests: Buckets::new(limits.requests_per_s),
            sockets: Buckets::new(limits.sockets_per_s),
        }
    }

    /// Takes one request from the bucket of an address; or says how long it is until there is one.
    pub(super) fn request(&self, from: IpAddr) -> Result<(), Duration> {
        self.requests.take(&network(from))
    }

    /// Takes one new socket from the bucket of an address.
    pub(super) fn socket(&self, from: IpAddr) -> Result<(), Duration> {
        self.sockets.take(&network(from))
    }

    /// Takes one request from the bucket of a user. Those whom nobody knows have none together.
    pub(super) fn user(&self, user: &str) -> Result<(), Duration> {
        if user == ANONYMOUS { Ok(()) } else { self.requests.take(user) }
    }
}

/// Whoever has one address of a network in IPv6 has all 2^64 of them (RFC 4291, section 2.5.1).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Buckets {
    fn new(per_second: u32) -> Self {
        let all = DefaultKeyedRateLimiter::keyed(quota(per_second));
        Self { all, hash: RandomState::new(), clock: DefaultClock::default() }
    }

    fn take(&self, key: &(impl Hash + ?Sized)) -> Result<(), Duration> {
        let bucket = self.hash.hash_one(key) % limits::RATE_BUCKETS;
        let taken = self.all.check_key(&bucket);
        taken.map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

impl Pace {
    /// So many messages in a second.
    pub(super) fn new(per_second: u32) -> Self {
        let bucket = DefaultDirectRateLimiter::direct(quota(per_second));
        Self { bucket, clock: DefaultClock::default() }
    }

    /// Waits until one more message may be read. Who is faster waits behind TCP; nothing is lost.
    pub(super) async fn next(&self) {
        while let Err(until) = self.bucket.check() {
            tokio::time::sleep(until.wait_time_from(self.clock.now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_one_and_an_address_of_the_old_kind_too() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
    }

    #[test]
    fn a_user_has_a_bucket_and_those_whom_nobody_knows_have_none() {
        let rates = Rates::new(&Limits { requests_per_s: 1, ..Limits::default() });
        let refused = |user| (0..20).filter(|_| rates.user(user).is_err()).count();
        assert!(refused("ada") > 5);
        assert_eq!(refused(ANONYMOUS), 0);
    }

    #[test]
    fn what_is_taken_at_once_is_bounded_and_what_is_remembered_too() {
        let rates = Buckets::new(1);
        for _ in 0..limits::RATE_BURST_S {
            assert_eq!(rates.take("ada"), Ok(()));
        }
        let wait = rates.take("ada").unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        for n in 0..3 * limits::RATE_BUCKETS {
            // Most of them are let in; how many share a bucket is chance.
            if let Err(wait) = rates.take(&n) {
                assert!(wait <= Duration::from_secs(1), "{wait:?}");
            }
        }
        assert!(u64::try_from(rates.all.len()).unwrap() <= limits::RATE_BUCKETS);
    }
}
