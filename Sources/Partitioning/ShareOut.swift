// Which partitions this worker serves: an even share, found without a leader. Pure.
//
// Workers know nothing of each other but what the broker tells each of them: how many there are, how many of them still
// want more, and which partitions nobody consumes. A lock per partition decides between two who want the same one.

/// What one worker does about the partitions.
///
/// A worker takes free partitions in random order up to the even share, and takes what stays free for long whatever it
/// has already, so that no partition is without a worker while one lives. What it has above the share it gives up, one
/// at a time. Where the partitions do not divide evenly, some workers may have one more than others. Workers let each
/// other see what they want (``Want``): for one that has less than the smaller share, those with more than that give up
/// one.
///
/// A broker can go on counting the consumers of a node that is down (RabbitMQ 3.10 does, of quorum queues). For a while after
/// a worker came, went or lost a lock, those that would take more although all seem to be served try their locks, one with
/// each look.
public struct ShareOut {
    /// What a worker lets the others see.
    public enum Want: Sendable, Hashable {
        /// It has its share.
        case nothing
        /// It would take one more: others may have one more than it, but no more than one.
        case oneMore
        /// It has less than the smaller share.
        case share
    }

    /// What the worker must do. Each is answered by an event, except ``wanting(_:)``.
    public enum Action: Sendable, Hashable {
        /// Try the partition's lock; answered by ``lockHeld(_:)`` or ``lockRefused(_:)``.
        case acquire(Int)
        /// Consume the partition, for as long as its lock is held.
        case serve(Int)
        /// Start no more of the partition's commands and finish those under way; answered by ``drained(_:)``.
        case drain(Int)
        /// Close the partition's channel without a cancel, then release its lock; answered by ``lockLost(_:)``.
        case leave(Int)
        /// Let the others see this.
        case wanting(Want)
    }

    /// What the broker says of all workers.
    public struct Observation: Sendable, Hashable {
        /// Workers there are, this one included.
        public var workers: Int
        /// Those of them, this one included, that want ``Want/oneMore`` or their ``Want/share``.
        public var wantingOne: Int
        /// Those of them, this one included, that want their ``Want/share``.
        public var wantingShare: Int
        /// Partitions that nobody consumes.
        public var unserved: Set<Int>
        /// Whether the workers could be counted now; ``workers`` is of an earlier look where not.
        public var isCounted: Bool

        public init(workers: Int, wantingOne: Int, wantingShare: Int, unserved: Set<Int>, isCounted: Bool = true) {
            self.workers = workers
            self.wantingOne = wantingOne
            self.wantingShare = wantingShare
            self.unserved = unserved
            self.isCounted = isCounted
        }
    }

    private enum State: Hashable {
        case acquiring
        case serving
        case draining
        case leaving
    }

    /// A node that vanished is given up after about a minute (`net_ticktime`), and its locks with it.
    private static let doubt: Duration = .seconds(120)

    private let partitions: Int
    private let patience: Duration
    /// What this worker has to do with; all others are somebody else's or free.
    private var states: [Int: State] = [:]
    /// Since when each partition has been seen without a consumer.
    private var unservedSince: [Int: Duration] = [:]
    /// Until when what seems to be served may be free.
    private var doubtsUntil = Self.doubt
    /// Since when every partition has seemed to be served.
    private var servedSince: Duration?
    private var hasLost = false
    private var workers = 1
    private var othersWantShare = false
    /// Partitions that were taken above the share since nobody else took them. They are kept until the number of workers
    /// changes or somebody wants one: given up at once, they would be without a worker again.
    private var adopted = 0
    private var want = Want.nothing
    private var isClosed = false

    /// - Parameters:
    ///   - partitions: how many there are, numbered from 0.
    ///   - patience: how long a partition may be seen free before it is taken above the share.
    public init(partitions: Int, patience: Duration = .seconds(10)) {
        self.partitions = partitions
        self.patience = patience
    }

    /// The partitions that are consumed, those being given up not included.
    public var serving: Set<Int> { Set(states.lazy.filter { $0.value == .serving }.map(\.key)) }

    /// Partitions whose lock is this worker's.
    public var held: Set<Int> { Set(states.lazy.filter { $0.value != .acquiring }.map(\.key)) }

    // MARK: Events

    /// What was seen at the time `now`, which only has to count up.
    public mutating func observed(
        _ seen: Observation, now: Duration, using random: inout some RandomNumberGenerator
    ) -> [Action] {
        guard !isClosed else { return [] }
        // A worker that is just connecting may not see itself yet.
        let count = max(seen.workers, 1)
        let hasChanged = count != workers
        if hasChanged || seen.wantingOne > (want == .nothing ? 0 : 1) { adopted = 0 }
        workers = count
        othersWantShare = seen.wantingShare > (want == .share ? 1 : 0)
        if hasChanged || hasLost || othersWantShare || !seen.isCounted { doubtsUntil = now + Self.doubt }
        hasLost = false
        let unserved = seen.unserved.filter { states[$0] == nil }
        unservedSince = unservedSince.filter { unserved.contains($0.key) }
        for partition in unserved where unservedSince[partition] == nil { unservedSince[partition] = now }

        var actions = take(unserved, now: now, using: &random)
        actions += tryServed(seen, now: now, using: &random)
        actions += giveUpSurplus(using: &random)
        // Everyone who could do it sees the same want: half of them wait for the next look. What is free serves as well.
        if othersWantShare, unserved.isEmpty, actions.isEmpty, !isGivingUp, owned > smallShare,
            Bool.random(using: &random)
        {
            actions += giveUpOne(using: &random)
        }
        return actions + showWant()
    }

    /// The partition's lock is this worker's.
    public mutating func lockHeld(_ partition: Int) -> [Action] {
        guard states[partition] == .acquiring else { return [] }
        states[partition] = .serving
        unservedSince[partition] = nil
        return [.serve(partition)]
    }

    /// Somebody else has the lock, or it cannot be asked for; looked at again with the next observation.
    public mutating func lockRefused(_ partition: Int) -> [Action] {
        guard states[partition] == .acquiring else { return [] }
        states[partition] = nil
        // What was not had is not above the share.
        adopted = min(adopted, max(owned - largeShare, 0))
        return []
    }

    /// Nothing of the partition is under way any more.
    public mutating func drained(_ partition: Int) -> [Action] {
        guard states[partition] == .draining else { return [] }
        states[partition] = .leaving
        return [.leave(partition)]
    }

    /// The lock was given back, or lost with the connection.
    public mutating func lockLost(_ partition: Int, using random: inout some RandomNumberGenerator) -> [Action] {
        guard let state = states.removeValue(forKey: partition), !isClosed else { return [] }
        hasLost = hasLost || state != .leaving
        return giveUpSurplus(using: &random)
    }

    /// Takes and gives up nothing from now on: the worker ends, and its connection takes its locks along.
    public mutating func close() { isClosed = true }

    // MARK: -

    /// What is this worker's or soon may be, and is not being given up.
    private var owned: Int { states.values.count { $0 == .acquiring || $0 == .serving } }
    private var isGivingUp: Bool { states.values.contains { $0 == .draining || $0 == .leaving } }
    private var smallShare: Int { partitions / workers }
    private var largeShare: Int { (partitions + workers - 1) / workers }

    private mutating func take(
        _ unserved: Set<Int>, now: Duration, using random: inout some RandomNumberGenerator
    ) -> [Action] {
        // While others are in want, what is above the smaller share is theirs.
        let share = othersWantShare ? smallShare : largeShare
        var actions: [Action] = []
        // Sorted first: a set's own order differs from run to run, and a seed must repeat a test.
        for partition in unserved.sorted().shuffled(using: &random) {
            let isOrphan = now - (unservedSince[partition] ?? now) >= patience
            guard owned < share || isOrphan else { continue }
            actions.append(acquire(partition))
        }
        return actions
    }

    /// A lock that is free tells more than a consumer that is counted.
    private mutating func tryServed(
        _ seen: Observation, now: Duration, using random: inout some RandomNumberGenerator
    ) -> [Action] {
        guard seen.unserved.isEmpty else {
            servedSince = nil
            return []
        }
        let since = servedSince ?? now
        servedSince = since
        guard now < doubtsUntil, now - since >= patience, owned < largeShare || !seen.isCounted,
            !states.values.contains(.acquiring),
            let partition = (0..<partitions).filter({ states[$0] == nil }).randomElement(using: &random)
        else { return [] }
        return [acquire(partition)]
    }

    private mutating func acquire(_ partition: Int) -> Action {
        if owned >= largeShare { adopted += 1 }
        states[partition] = .acquiring
        return .acquire(partition)
    }

    private mutating func giveUpSurplus(using random: inout some RandomNumberGenerator) -> [Action] {
        guard !isGivingUp, owned > largeShare + adopted else { return [] }
        return giveUpOne(using: &random)
    }

    private mutating func giveUpOne(using random: inout some RandomNumberGenerator) -> [Action] {
        guard let partition = serving.sorted().randomElement(using: &random) else { return [] }
        states[partition] = .draining
        return [.drain(partition)]
    }

    private mutating func showWant() -> [Action] {
        let wanted: Want = owned < smallShare ? .share : owned < largeShare ? .oneMore : .nothing
        guard wanted != want else { return [] }
        want = wanted
        return [.wanting(wanted)]
    }
}
