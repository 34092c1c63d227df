// The port: what the pipeline asks of a store, and what every store promises.

public import RoutingContract

/// Remembers which commands were begun and how they ended, so that one RequestId leads to one call.
///
/// The states of a command: *absent* → *claimed* (somebody holds a lease and may be calling) → *completed* (a result is
/// recorded) or *released* (nobody is calling; attempts so far are remembered). Every claim gets a fencing token higher
/// than all before it for that command; only the holder of the newest may record or release. Once its lease ran out it
/// cannot record: it asks for its claim anew (see ``ClaimRequest/nonce``), and gets it as long as nobody took the command
/// over, so that a result which is known is neither written over a newer holder nor lost. Leases are judged by the
/// store's clock alone; one that steps back only lengthens them. The transitions stand in ``CommandRecord``.
///
/// Every function throws ``StoreError`` and no other error, within the store's own time limit, and may be called again
/// after an error: see ``ClaimRequest/nonce`` for claims; a repeated record or release finds what the first one wrote.
/// Cancelling the calling task does not end a wait early.
public protocol IdempotencyStore: Sendable {
    /// Asks for the right to call. When it returns a claim, that claim is as durable as the store promises.
    func claim(_ request: ClaimRequest) async throws(StoreError) -> ClaimResult

    /// Records how a command ended, if the claim is still the newest, was not released and its lease has not run out, and
    /// says whether that was so. The first result under a claim stays: recording again under the same claim is `held` and
    /// changes nothing, at any time.
    func record(_ result: CommandResult, for claim: Claim) async throws(StoreError) -> Fencing

    /// Gives a claim back without a result, if it is still the newest. Releasing it again changes nothing, and is `held`
    /// unless the first release forgot the command.
    func release(_ claim: Claim, as release: Release) async throws(StoreError) -> Fencing

    /// Leaves a delete's mark for its conversation ahead of the delete's own turn, unless that delete was claimed before
    /// (which left the mark itself) or has no issue time. Does nothing for a route. Only for a delete that is valid and
    /// not expired.
    func mark(_ request: ClaimRequest) async throws(StoreError)

    /// Removes up to `limit` commands and marks whose retention is over; returns how many.
    func purge(limit: Int) async throws(StoreError) -> Int

    /// Finishes what is waiting and lets go of the database. Later calls throw ``StoreError/closed``.
    func close() async
}

/// A request for the right to call.
public struct ClaimRequest: Sendable, Hashable {
    public var key: CommandKey
    public var fingerprint: Fingerprint
    public var conversation: String
    /// Only an issue time that the platform gave; superseding needs one on both sides. The first claim of a delete
    /// leaves its mark under it, so leave it out where the delete has expired: an expired delete supersedes nothing.
    public var issuedAt: Timestamp?
    /// See ``RouteCommand/replay``.
    public var replay: Int
    /// See ``RouteCommand/acceptsSecondEffect``.
    public var acceptsSecondEffect: Bool
    /// How long the claim protects its holder before others may take it over. Counted in whole milliseconds.
    public var lease: Duration
    /// The claiming worker's name, for the story of the command.
    public var worker: String
    /// Tells a claim that is asked for again from somebody else's. Choose one at random for every wish to call, and keep
    /// it when asking again after a ``StoreError``, which leaves open whether the claim was made: with the same nonce the
    /// store then gives it anew (under a new token), since nobody can have called under an answer that never arrived.
    /// Without one, the asker finds its own claim in progress and, after the lease, interrupted.
    ///
    /// A holder whose record was `lost` asks again with the nonce of the claim that it held and says in ``callsMade`` what
    /// it did: it gets the claim anew with a new lease, unless somebody took the command over.
    public var nonce: UInt64?
    /// What the asker did under a claim that it held before and could not record under. Remembered with the new claim, so
    /// that what is known of these calls does not end with the asker.
    public var callsMade: CallsMade?
    /// The delivery that the claim is for, for the story of the command.
    public var delivery = DeliveryNote()
    /// Calls that no record or release has told the store of, such as those made under a claim that was lost.
    public var untoldCalls: [CallNote] = []

    public init(
        key: CommandKey, fingerprint: Fingerprint, conversation: String, issuedAt: Timestamp? = nil, replay: Int = 0,
        acceptsSecondEffect: Bool = false, lease: Duration, worker: String, nonce: UInt64? = nil,
        callsMade: CallsMade? = nil
    ) {
        self.key = key
        self.fingerprint = fingerprint
        self.conversation = conversation
        self.issuedAt = issuedAt
        self.replay = replay
        self.acceptsSecondEffect = acceptsSecondEffect
        self.lease = lease
        self.worker = worker
        self.nonce = nonce
        self.callsMade = callsMade
    }
}

/// Calls of one command, as far as a later holder must know of them.
public struct CallsMade: Sendable, Hashable {
    /// Under all claims together.
    public var attempts: Int
    /// Whether one of them took effect or may have.
    public var mayHaveTakenEffect: Bool

    public init(attempts: Int, mayHaveTakenEffect: Bool) {
        self.attempts = attempts
        self.mayHaveTakenEffect = mayHaveTakenEffect
    }
}

/// The right to call and to record, held until the lease ends or somebody newer holds one.
public struct Claim: Sendable, Hashable {
    public var key: CommandKey
    /// The fencing token; grows with every claim of this command.
    public var token: Int64
    /// Calls made under earlier claims, as their releases told; counted anew when a replay reopens the command.
    public var attempts: Int
    /// Whether a call under an earlier claim may have taken effect: a release said so, a lease ran out, or the command
    /// ended ``Outcome/unknown`` before it was reopened. Once true it stays true.
    public var mayHaveTakenEffect: Bool
    /// The replay count under which a result is recorded: the highest of all claims, be it another delivery's.
    public var replay: Int
    /// Whether a replay has opened the command and no lease has run out since: what was accepted for the replay counts.
    public var isReopened: Bool
    /// Calls made under it, for the story of the command: told to the store with the record or the release.
    public var calls: [CallNote] = []

    public init(
        key: CommandKey, token: Int64, attempts: Int = 0, mayHaveTakenEffect: Bool = false, replay: Int = 0,
        isReopened: Bool = false
    ) {
        self.key = key
        self.token = token
        self.attempts = attempts
        self.mayHaveTakenEffect = mayHaveTakenEffect
        self.replay = replay
        self.isReopened = isReopened
    }
}

/// What a store says to a request for a claim.
public enum ClaimResult: Sendable, Hashable {
    /// Go ahead.
    case acquired(Claim)
    /// Go ahead knowing that an earlier holder's lease ran out unreleased: its call may have started.
    case interrupted(Claim)
    /// A later delete of the conversation was seen: record ``Outcome/superseded``, do not call. Never given when a call
    /// under an earlier claim may have taken effect.
    case superseded(Claim)
    /// It ended before: repeat the result. `replay` is the count under which it was recorded.
    indirect case completed(CommandResult, replay: Int)
    /// Somebody holds a claim, for at most this much longer.
    case inProgress(Duration)
    /// The RequestId is bound to another meaning.
    case conflict
}

/// How a claim is given back.
public enum Release: Sendable, Hashable {
    /// The command will be tried again: remember the calls made so far (all claims together) and whether one of them
    /// may have taken effect.
    case forRetry(attempts: Int, mayHaveTakenEffect: Bool)
    /// No call was made under this claim and the RequestId is not to stay bound to this meaning. The command is forgotten
    /// unless there is something to remember: calls under earlier claims stay remembered, as with `forRetry`, and a
    /// command that a replay had reopened ends again as it had ended before.
    case unbound
}

/// Whether a write was made under the newest fencing token.
public enum Fencing: Sendable, Hashable {
    case held
    /// Somebody newer holds the command, or it is gone, or (for a record) the lease has run out: nothing was written.
    case lost
}

/// Why a store could not answer. In every case it is unknown whether the operation happened; doing it again is safe.
public indirect enum StoreError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The database cannot be reached or did not answer in time; trying again later can help.
    case unavailable(String)
    /// The database answered that it cannot take more (disk or memory full).
    case full(String)
    /// The database holds what this version cannot read, or refuses the worker; somebody must act.
    case unusable(String)
    /// ``IdempotencyStore/close()`` was called.
    case closed

    public var description: String {
        switch self {
        case .unavailable(let why): "the store is unavailable: \(why)"
        case .full(let why): "the store is full: \(why)"
        case .unusable(let why): "the store is unusable: \(why)"
        case .closed: "the store is closed"
        }
    }
}
