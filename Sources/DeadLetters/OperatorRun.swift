// Works through the dead letters: publish what is to be published, leave a trail, then ack; nothing is lost in between.

public import AMQP
public import AMQPMessage
import Failpoints
public import RoutingContract

/// One pass over the dead letters that does the same with all that match.
///
/// For each: publish (confirmed) → trail (confirmed) → ack. Killed in between, it leaves the dead letter in its place, and
/// the next pass does it once more; a replay that was published twice has the same count and is called once.
public struct OperatorRun: Sendable {
    /// What is to be done with one dead letter.
    public struct Step: Sendable {
        /// What is published for it.
        public var message: OutgoingMessage?
        public var trail: TrailEntry

        public init(message: OutgoingMessage? = nil, trail: TrailEntry) {
            self.message = message
            self.trail = trail
        }
    }

    /// How a pass ended.
    public struct Report: Sendable {
        public var look = HeldQueue.Look()
        public var matched = 0
        public var done = 0
        /// Why dead letters were left as they are, with counts and the first RequestIds of each.
        public var refusals: [String: (count: Int, examples: [String])] = [:]
        /// Why the pass ended before its end.
        public var failure: OperatorError?

        public var refused: Int { refusals.values.reduce(0) { $0 + $1.count } }
    }

    /// Messages under way at a time.
    private static let chunk = 100

    private let session: OperatorSession
    private let limit: Int
    private let keepsBodies: Bool
    private let isDry: Bool
    private let isMeant: @Sendable (DeadLetter) -> Bool
    private let plan: @Sendable (DeadLetter) throws(OperatorError) -> Step

    /// - Parameters:
    ///   - limit: no more than so many are done.
    ///   - keepsBodies: otherwise `isMeant` and `plan` get none.
    ///   - isDry: changes nothing.
    ///   - isMeant: says which match.
    ///   - plan: decides; throws ``OperatorError/refused(_:)`` to leave one as it is.
    public init(
        _ session: OperatorSession, limit: Int = .max, keepsBodies: Bool = true, isDry: Bool,
        isMeant: @escaping @Sendable (DeadLetter) -> Bool,
        plan: @escaping @Sendable (DeadLetter) throws(OperatorError) -> Step
    ) {
        self.session = session
        self.limit = limit
        self.keepsBodies = keepsBodies
        self.isDry = isDry
        self.isMeant = isMeant
        self.plan = plan
    }

    /// - Parameters:
    ///   - progress: told after each chunk how many were looked at, of how many, and how many are done.
    ///   - shouldStop: asked before each chunk.
    public func run(
        progress: (_ seen: Int, _ of: Int, _ done: Int) -> Void = { _, _, _ in }, shouldStop: () -> Bool = { false }
    ) async throws -> Report {
        var report = Report()
        var (total, seen) = (0, 0)
        var isOver: Bool { report.failure != nil || report.done >= limit }
        report.look = try await session.deadLetters.look(
            keepsBodies: keepsBodies, started: { total = $0 }, shouldStop: { isOver || shouldStop() }
        ) { deliveries in
            var receipts: [Receipt] = []
            for start in stride(from: 0, to: deliveries.count, by: Self.chunk) {
                if isOver || shouldStop() { break }
                let chunk = deliveries[start..<min(start + Self.chunk, deliveries.count)]
                receipts += await work(chunk, &report)
                seen += chunk.count
                progress(seen, total, report.done)
            }
            if !receipts.isEmpty { Failpoint.afterConfirm.reached() }
            return receipts
        }
        return report
    }

    /// - Returns: what is done with.
    private func work(_ deliveries: ArraySlice<Delivery>, _ report: inout Report) async -> [Receipt] {
        var planned: [(receipt: Receipt, step: Step)] = []
        for delivery in deliveries where report.done + planned.count < limit {
            let letter = DeadLetter(delivery)
            guard isMeant(letter) else { continue }
            report.matched += 1
            do throws(OperatorError) {
                planned.append((delivery.receipt, try plan(letter)))
            } catch {
                var refusal = report.refusals[error.description] ?? (0, [])
                refusal.count += 1
                if refusal.examples.count < 3 { refusal.examples.append(letter.requestID ?? "one without RequestId") }
                report.refusals[error.description] = refusal
            }
        }
        if isDry {
            report.done += planned.count
            return []
        }
        let messages = planned.compactMap(\.step.message)
        var outcomes = await session.publish(messages)[...]
        let published = planned.filter { entry in
            guard entry.step.message != nil, let problem = outcomes.removeFirst() else { return true }
            report.failure = report.failure ?? problem
            return false
        }
        let trails = await session.publish(
            published.map { OutgoingMessage($0.step.trail.message(), routingKey: session.place.auditQueue) })
        var done: [Receipt] = []
        for (entry, problem) in zip(published, trails) {
            if let problem { report.failure = report.failure ?? problem } else { done.append(entry.receipt) }
        }
        report.done += done.count
        return done
    }
}

extension DeadLetter {
    public init(_ delivery: Delivery) {
        self.init(
            delivery.message, isComplete: delivery.isComplete,
            bodyBytes: delivery.skippedBodyBytes.map { Int(clamping: $0) })
    }
}
