// Who waits for which operation, and what the one runner does next. Pure: no clock, no task, no lock.

/// The state of a ``BatchingIdempotencyStore``, generic over what waits so that tests need no tasks.
///
/// Operations keep their order of arrival, and everybody waits equally long, so that the deadlines are sorted too.
struct BatchQueue<Waiter> {
    /// Somebody who waits for an answer.
    struct Wait {
        /// `nil` once nobody waits any more.
        var waiter: Waiter?
        var deadline: ContinuousClock.Instant
    }

    /// What the caller of ``enqueue(_:waiter:deadline:)`` and ``close(waiter:deadline:)`` must start.
    struct Enqueued: Equatable {
        /// Why it was not taken; its waiter must be answered with this.
        var refusal: StoreError?
        var startsRunner = false
        var startsTimekeeper = false
    }

    /// What the runner does next.
    enum Step: Equatable {
        case run([StoreOperation])
        case linger
        case close
        /// Nothing waits: the runner ends, and the next arrival starts another.
        case rest
    }

    private let maximumBatch: Int
    private let maximumWaiting: Int
    private let lingers: Bool

    private var operations: [StoreOperation] = []
    /// Who waits for the operations, index for index.
    private var waits: [Wait] = []
    /// Who waits for the end, once everything before it is done.
    private var closing: [Wait] = []
    private var inFlight: [Wait] = []
    private var isRunning = false
    private var isTimed = false
    private var isClosing = false
    private var mayLinger = false

    init(maximumBatch: Int, maximumWaiting: Int, lingers: Bool) {
        self.maximumBatch = maximumBatch
        self.maximumWaiting = maximumWaiting
        self.lingers = lingers
    }

    mutating func enqueue(
        _ operation: consuming StoreOperation, waiter: Waiter, deadline: ContinuousClock.Instant
    ) -> Enqueued {
        guard !isClosing else { return Enqueued(refusal: .closed) }
        guard operations.count < maximumWaiting else {
            return Enqueued(refusal: .unavailable("\(operations.count) operations wait already"))
        }
        operations.append(operation)
        waits.append(Wait(waiter: waiter, deadline: deadline))
        return start()
    }

    mutating func close(waiter: Waiter, deadline: ContinuousClock.Instant) -> Enqueued {
        isClosing = true
        closing.append(Wait(waiter: waiter, deadline: deadline))
        return start()
    }

    private mutating func start() -> Enqueued {
        let enqueued = Enqueued(startsRunner: !isRunning, startsTimekeeper: !isTimed)
        isRunning = true
        isTimed = true
        return enqueued
    }

    /// What the runner does now. After `run` it must call ``finish(_:)``, after `close` ``finishClosing()``.
    mutating func next() -> Step {
        guard !operations.isEmpty else {
            swap(&inFlight, &closing)
            if !inFlight.isEmpty { return .close }
            isRunning = false
            mayLinger = false
            return .rest
        }
        if lingers, mayLinger, !isClosing, operations.count < maximumBatch {
            mayLinger = false
            return .linger
        }
        var batch: [StoreOperation] = []
        if operations.count <= maximumBatch {
            swap(&batch, &operations)
            swap(&inFlight, &waits)
            // The next batch is likely to be as large.
            operations.reserveCapacity(batch.count)
        } else {
            batch = Array(operations.prefix(maximumBatch))
            operations.removeFirst(maximumBatch)
            inFlight = Array(waits.prefix(maximumBatch))
            waits.removeFirst(maximumBatch)
        }
        return .run(batch)
    }

    /// Takes in what became of the step, and says whom to answer: who waits for each operation, `nil` for nobody. A claim
    /// that was made for somebody who no longer waits is given back, since nobody will call under it: otherwise it would
    /// look interrupted when its lease ends.
    mutating func finish(_ result: Result<[StoreReply], StoreError>) -> [Waiter?] {
        mayLinger = true
        if case .success(let replies) = result {
            precondition(replies.count == inFlight.count, "a backend replies once to every operation")
            for index in inFlight.indices where inFlight[index].waiter == nil {
                guard let claim = replies[index].newClaim else { continue }
                let release = Release.forRetry(attempts: claim.attempts, mayHaveTakenEffect: claim.mayHaveTakenEffect)
                operations.insert(.release(claim, release), at: 0)
                waits.insert(Wait(waiter: nil, deadline: inFlight[index].deadline), at: 0)
            }
        }
        defer { inFlight.removeAll(keepingCapacity: true) }
        return inFlight.map { $0.waiter }
    }

    /// Ends the close step: nothing can have come after it but further wishes to close.
    mutating func finishClosing() -> [Waiter] {
        let waiters = inFlight.compactMap(\.waiter)
        inFlight = []
        return waiters
    }

    /// When the timekeeper must look next; `nil` ends it, and the next arrival starts another.
    mutating func nextDeadline() -> ContinuousClock.Instant? {
        let oldest = [inFlight, waits, closing].lazy.compactMap { $0.first { $0.waiter != nil }?.deadline }.first
        isTimed = oldest != nil
        return oldest
    }

    /// Takes out everybody who has waited long enough. Operations that have not begun are dropped, a close never is.
    mutating func expire(at now: ContinuousClock.Instant) -> [Waiter] {
        var late = Self.takeWaiters(of: &inFlight, lateAt: now)
        let due = waits.prefix { $0.deadline <= now }.count
        // What nobody waits for is a claim to be given back.
        let kept = (0..<due).filter { waits[$0].waiter == nil }
        late += waits.prefix(due).compactMap(\.waiter)
        operations.replaceSubrange(..<due, with: kept.map { operations[$0] })
        waits.replaceSubrange(..<due, with: kept.map { waits[$0] })
        return late + Self.takeWaiters(of: &closing, lateAt: now)
    }

    private static func takeWaiters(of waits: inout [Wait], lateAt now: ContinuousClock.Instant) -> [Waiter] {
        waits.indices.filter { waits[$0].deadline <= now }.compactMap { waits[$0].waiter.take() }
    }
}

extension StoreReply {
    fileprivate var newClaim: Claim? {
        switch self {
        case .claim(.acquired(let claim)), .claim(.interrupted(let claim)), .claim(.superseded(let claim)): claim
        case .claim(.completed), .claim(.inProgress), .claim(.conflict), .fencing, .marked, .found, .searched, .forgot,
            .purged,
            .failed:
            nil
        }
    }
}
