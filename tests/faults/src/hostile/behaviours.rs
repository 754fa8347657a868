//! What a hostile or broken server does: the table.

use std::io;
use std::net::TcpStream;

use super::front::Behind;
use super::request::Kind::{self, Abort, Begin, Complete, Delete, Get, Head, List, Part, Put};
use super::request::{Reply, Request};
use super::{answers, refusals, wire};

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// This is answered, whether the server was asked or not.
    Answer(fn(&Request, &Behind) -> io::Result<Reply>),
    /// The server gets it, and its reply goes out like this.
    Wire(fn(&TcpStream, &Reply, bool) -> io::Result<()>),
    /// The server does not get it, and the client meets this.
    Unanswered(fn(&TcpStream) -> io::Result<()>),
    /// The client meets this where it begins with TLS.
    Tls(fn(&TcpStream) -> io::Result<()>),
    /// The connection is reset before the request is taken.
    Refuse,
    /// The connection is reset after the request was taken.
    Reset,
    /// It is served, and never told to go on with its body.
    Unasked,
}

/// Something that a server does.
#[derive(Debug)]
pub struct Behaviour {
    pub name: &'static str,
    /// Which requests it is for.
    pub meets: &'static [Kind],
    pub act: Act,
    /// Whether no client can see it at that moment: then it is dr-verify that has to tell.
    pub unseen: bool,
    /// Whether it spoils what it keeps.
    pub spoils: bool,
    /// Whether what it has done is still there when it is well again, and in the way.
    pub lasting: bool,
    /// What dr-push is told in addition.
    pub asked: &'static [&'static str],
}

const ANY: &[Kind] = &[Put, Get, Head, List, Begin, Part, Complete, Abort, Delete];
const READS: &[Kind] = &[Get, Head, List];
const WRITES: &[Kind] = &[Put, Begin, Part, Complete];
const BODIES: &[Kind] = &[Get, List];
const XML: &[Kind] = &[List, Begin, Complete, Get];

const fn of(name: &'static str, meets: &'static [Kind], act: Act) -> Behaviour {
    Behaviour { name, meets, act, unseen: false, spoils: false, lasting: false, asked: &[] }
}

const fn answer(name: &'static str, meets: &'static [Kind], answer: fn(&Request, &Behind) -> io::Result<Reply>) -> Behaviour {
    of(name, meets, Act::Answer(answer))
}

const fn wire(name: &'static str, meets: &'static [Kind], send: fn(&TcpStream, &Reply, bool) -> io::Result<()>) -> Behaviour {
    of(name, meets, Act::Wire(send))
}

/// A lie that no client can see at that moment.
const fn unseen(behaviour: Behaviour) -> Behaviour {
    Behaviour { unseen: true, spoils: true, ..behaviour }
}

/// All of them: what each does, to which requests, and how.
///
/// Not seen by any client at that moment are: an object that is acknowledged and discarded, with everything that a good answer
/// has; a multipart upload of which a part is kept, or a part that arrived altered, on a server that gives no checksums of it. A
/// host that backs up may not read, so nothing is asked again; dr-verify finds each of them, and WAL that
/// was kept beside an object of somebody else, where another one of somebody else was already. And a server that shows, in all that
/// it says, an older state of the store: by the witness in `DR_STATE` whoever reads the catalogue finds it.
pub static BEHAVIOURS: &[Behaviour] = &[
    // What it makes of writes.
    answer("create-only is ignored, and what has the name is overwritten", &[Put, Complete], answers::create_only_is_ignored),
    Behaviour {
        asked: &["--lock-until", "+1d"],
        ..answer("a lock is accepted and not kept", &[Put, Begin], |it, behind| behind.ask(it))
    },
    unseen(answer("an object is acknowledged and discarded", &[Put], answers::discarded)),
    answer("a part is acknowledged and discarded", &[Part], answers::discarded),
    unseen(answer("a part arrives altered, and no checksum is looked at", &[Part], answers::flipped_on_arrival)),
    answer("an object arrives altered", &[Put], answers::flipped_on_arrival),
    unseen(answer("a completion takes some parts only", &[Complete], answers::completed_in_part)),
    Behaviour { spoils: true, ..answer("some parts only, by its checksum", &[Complete], answers::completed_and_says_so) },
    answer("a wrong checksum is given back", &[Put, Part], answers::wrong_checksum),
    answer("checksums are missing", &[Put, Part, Head, Get], answers::no_checksum),
    Behaviour {
        spoils: true,
        lasting: true,
        ..answer("another's object of that size has the name", &[Put], answers::taken_by_another)
    },
    answer("a deletion is acknowledged and not done", &[Delete, Abort], answers::not_deleted),
    // ETags.
    answer("an ETag is no digest, and always the same", ANY, answers::etag_of_the_key),
    answer("an ETag is another one each time", ANY, answers::etag_of_the_answer),
    answer("an ETag is missing", ANY, answers::no_etag),
    // Refusals.
    answer("409: a conflict", WRITES, refusals::conflict),
    answer("412, whatever is asked", ANY, refusals::precondition),
    answer("412, and it was done", WRITES, refusals::precondition_afterwards),
    answer("304: not modified", READS, refusals::not_modified),
    answer("301 to another host", ANY, refusals::moved),
    answer("307 to another host", ANY, refusals::redirected),
    answer("400: another region", ANY, refusals::another_region),
    answer("403: the clock is off by years", ANY, refusals::skewed_by_years),
    answer("400: the token has expired", ANY, refusals::expired),
    answer("403: denied", ANY, refusals::denied),
    answer("404 to everything", ANY, refusals::not_there),
    answer("503: slow down, Retry-After a second", ANY, refusals::slow_down),
    answer("503: slow down, Retry-After longer than there are years", ANY, refusals::slow_down_for_years),
    answer("500", ANY, refusals::internal),
    answer("500, and it was done", WRITES, refusals::error_afterwards),
    answer("a status that there is not", ANY, refusals::no_status),
    // Successes that are none.
    answer("200 with an error inside", ANY, answers::error_inside),
    answer("200 with an error inside, and it was done", WRITES, answers::error_inside_afterwards),
    answer("200 with HTML", ANY, answers::html),
    answer("200 with nothing", ANY, answers::nothing),
    answer("204", ANY, answers::no_content),
    answer("XML with entities of entities", XML, answers::bomb_inside),
    answer("a refusal with entities of entities", ANY, answers::bomb_in_a_refusal),
    // What it gives to read.
    answer("another object's bytes", &[Get], answers::another_body),
    answer("another object altogether", &[Get, Head], answers::another_object),
    answer("an older state of the store", READS, answers::stale),
    answer("a byte is changed", BODIES, answers::flipped),
    answer("zeros instead of the second half", &[Get], answers::zeros_at_the_end),
    answer("half of it, as if that were all", BODIES, answers::shorter),
    answer("HEAD says a byte more", &[Head], answers::size_is_larger),
    answer("HEAD says a byte less", &[Head], answers::size_is_smaller),
    answer("another range", &[Get], answers::another_range),
    answer("the whole object instead of a range", &[Get], answers::range_is_ignored),
    answer("a clock that is years behind", ANY, answers::clock_is_behind),
    answer("a clock that is years ahead", ANY, answers::clock_is_ahead),
    // Listings.
    answer("a key is listed that is not there", &[List], answers::ghost_is_listed),
    answer("the last key is not listed", &[List], answers::last_is_hidden),
    answer("the first key is not listed", &[List], answers::first_is_hidden),
    answer("no key is listed", &[List], answers::all_are_hidden),
    answer("manifests are not listed", &[List], answers::manifests_are_hidden),
    answer("keys in another order", &[List], answers::reordered),
    answer("keys are encoded as in a URL", &[List], answers::keys_are_encoded),
    answer("keys are mangled", &[List], answers::keys_are_mangled),
    answer("keys climb out of their folder", &[List], answers::keys_climb),
    answer("sizes are wrong", &[List], answers::sizes_are_wrong),
    answer("sizes are negative", &[List], answers::sizes_are_negative),
    answer("10,001 keys on a page", &[List], answers::ten_thousand_and_one),
    answer("pages of two keys", &[List], answers::in_pages),
    answer("a page is lost", &[List], answers::page_is_lost),
    answer("each page comes twice", &[List], answers::page_is_repeated),
    answer("pages run backwards", &[List], answers::pages_run_backwards),
    answer("pages do not end", &[List], answers::pages_do_not_end),
    answer("the same page for ever", &[List], answers::same_page_for_ever),
    answer("a page goes on, and does not say where", &[List], answers::cut_without_a_token),
    // The wire.
    wire("the reply is swallowed", ANY, wire::swallowed),
    wire("slow", ANY, wire::slow),
    wire("the body is cut", ANY, wire::body_cut),
    wire("the head is cut", ANY, wire::head_cut),
    wire("the body stalls", BODIES, wire::body_stalls),
    wire("Content-Length is too large", ANY, wire::length_too_large),
    wire("Content-Length is too small", BODIES, wire::length_too_small),
    wire("Content-Length is nonsense", ANY, wire::length_is_nonsense),
    wire("HTTP/1.0, and the end is the end of the connection", ANY, wire::http_1_0),
    wire("HTTP/1.0, and the connection ends halfway", BODIES, wire::http_1_0_cut),
    wire("chunks are garbage", ANY, wire::chunks_are_garbage),
    wire("chunks do not end", ANY, wire::chunks_do_not_end),
    wire("every answer comes twice", ANY, wire::twice),
    wire("a head without end", ANY, wire::heads_without_end),
    of("no answer at all", ANY, Act::Unanswered(wire::stalls)),
    of("100 Continue without end", ANY, Act::Unanswered(wire::continues_without_end)),
    of("100 Continue never", WRITES, Act::Unasked),
    of("another protocol", ANY, Act::Unanswered(wire::another_protocol)),
    of("a reset before the request is taken", ANY, Act::Refuse),
    of("a reset after the request was taken", ANY, Act::Reset),
    of("no TLS where TLS is expected", ANY, Act::Tls(wire::plain)),
    of("TLS is cut in its greeting", ANY, Act::Tls(wire::greeting_cut)),
];
