// Who waits for which operation, and what the one runner does next. Pure: no clock, no task, no lock.

/// The state of a ``BatchingIdempotencyStore``, generic over what waits so that tests need no tasks.
///
/// Entries keep their order of arrival, and all of them wait equally long, so their deadlines are sorted too.
struct BatchQueue<Waiter> {
    struct Entry {
        /// `nil` asks to close once everything before it is done.
        var operation: StoreOperation?
        /// `nil` once nobody waits any more.
        var waiter: Waiter?
        var deadline: ContinuousClock.Instant
    }

    /// What the caller of ``enqueue(_:waiter:deadline:)`` must start.
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

    struct Answer {
        var waiter: Waiter
        var result: Result<StoreReply, StoreError>
    }

    private let maximumBatch: Int
    private let maximumWaiting: Int
    private let lingers: Bool

    private var waiting: [Entry] = []
    private var inFlight: [Entry] = []
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
        _ operation: StoreOperation?, waiter: Waiter, deadline: ContinuousClock.Instant
    ) -> Enqueued {
        if operation != nil {
            guard !isClosing else { return Enqueued(refusal: .closed) }
            guard waiting.count < maximumWaiting else {
                return Enqueued(refusal: .unavailable("\(waiting.count) operations wait already"))
            }
        }
        isClosing = isClosing || operation == nil
        waiting.append(Entry(operation: operation, waiter: waiter, deadline: deadline))
        let enqueued = Enqueued(startsRunner: !isRunning, startsTimekeeper: !isTimed)
        isRunning = true
        isTimed = true
        return enqueued
    }

    /// What the runner does now. After `run` and `close` it must call ``finish(_:)``.
    mutating func next() -> Step {
        guard let first = waiting.first else {
            isRunning = false
            mayLinger = false
            return .rest
        }
        guard first.operation != nil else {
            inFlight = waiting
            waiting = []
            return .close
        }
        if lingers, mayLinger, !isClosing, waiting.count < maximumBatch {
            mayLinger = false
            return .linger
        }
        var operations: [StoreOperation] = []
        operations.reserveCapacity(min(waiting.count, maximumBatch))
        for entry in waiting.prefix(maximumBatch) {
            guard let operation = entry.operation else { break }
            operations.append(operation)
        }
        if operations.count == waiting.count {
            swap(&inFlight, &waiting)
            waiting.removeAll(keepingCapacity: true)
        } else {
            inFlight = Array(waiting.prefix(operations.count))
            waiting.removeFirst(operations.count)
        }
        return .run(operations)
    }

    /// Takes in what became of the step, and says whom to answer. A claim that was made for somebody who no longer waits
    /// is given back, since nobody will call under it: otherwise it would look interrupted when its lease ends.
    mutating func finish(_ result: Result<[StoreReply], StoreError>) -> [Answer] {
        mayLinger = true
        var answers: [Answer] = []
        answers.reserveCapacity(inFlight.count)
        switch result {
        case .success(let replies):
            precondition(replies.count == inFlight.count, "a backend replies once to every operation")
            for index in replies.indices {
                if let waiter = inFlight[index].waiter {
                    answers.append(Answer(waiter: waiter, result: .success(replies[index])))
                } else if let claim = replies[index].newClaim {
                    let release = Release.forRetry(
                        attempts: claim.attempts, mayHaveTakenEffect: claim.mayHaveTakenEffect)
                    let entry = Entry(
                        operation: .release(claim, release), waiter: nil, deadline: inFlight[index].deadline)
                    waiting.insert(entry, at: 0)
                }
            }
        case .failure(let error):
            for entry in inFlight {
                if let waiter = entry.waiter { answers.append(Answer(waiter: waiter, result: .failure(error))) }
            }
        }
        inFlight.removeAll(keepingCapacity: true)
        return answers
    }

    /// Ends the close step: nothing can have come after it but further wishes to close.
    mutating func finishClosing() -> [Waiter] {
        let waiters = inFlight.compactMap(\.waiter)
        inFlight = []
        return waiters
    }

    /// When the timekeeper must look next; `nil` ends it, and the next arrival starts another.
    mutating func nextDeadline() -> ContinuousClock.Instant? {
        let oldest =
            inFlight.first(where: { $0.waiter != nil }) ?? waiting.first(where: { $0.waiter != nil })
        isTimed = oldest != nil
        return oldest?.deadline
    }

    /// Takes out everybody who has waited long enough. Operations that have not begun are dropped, a close never is.
    mutating func expire(at now: ContinuousClock.Instant) -> [Waiter] {
        var late: [Waiter] = []
        for index in inFlight.indices where inFlight[index].deadline <= now {
            guard let waiter = inFlight[index].waiter.take() else { continue }
            late.append(waiter)
        }
        waiting.removeAll { entry in
            guard entry.deadline <= now, entry.operation != nil, let waiter = entry.waiter else { return false }
            late.append(waiter)
            return true
        }
        for index in waiting.indices where waiting[index].deadline <= now {
            guard let waiter = waiting[index].waiter.take() else { continue }
            late.append(waiter)
        }
        return late
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
