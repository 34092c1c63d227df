// Looks at what a queue holds without changing its order or content.

public import AMQP
import AMQPMessage
import Foundation

/// A queue whose messages are held while they are looked at, and go back in their order unless they are acked.
///
/// All of it is consumed and none acked; at the end the channel is closed without a cancel, upon which the broker puts back
/// what is unsettled, in its order. It does the same when this process is killed.
///
/// A quorum queue puts back in front of what was never delivered, and behind what it had put back before. So a look has to
/// hold at once all that an earlier one may have put back; hence as many consumers as that takes.
/// They begin one after another, which takes the broker some half a second each: killed within that time, a look at more
/// than one of them can hold leaves behind the rest what it held. One that is asked to stop first lets all of them begin.
public struct HeldQueue: Sendable {
    /// As many as can be held at a time.
    public static let limit = Int(UInt16.max) * Subscription.maximumConsumers
    /// A channel keeps acks for a quorum queue back while more than 32 commands to it are under way
    /// (`quorum_commands_soft_limit`), and forgets those when it closes (seen with RabbitMQ 3.10); nothing tells when they are
    /// through. What is forgotten is still there for the next run.
    private static let (uncertainAcks, timeForAcks) = (32, Duration.milliseconds(500))

    private let admin: AMQPAdmin
    private let configuration: AMQPConfiguration
    private let queue: String
    private let prefetch: UInt16
    private let patience: Duration

    /// - Parameters:
    ///   - prefetch: what each consumer holds; less than it could is for tests.
    ///   - patience: how long the broker may be silent although there should be more, and others may hold what was there;
    ///     less than usual is for tests.
    public init(
        _ admin: AMQPAdmin, _ configuration: AMQPConfiguration, queue: String, prefetch: UInt16 = .max,
        patience: Duration = .seconds(60)
    ) {
        self.admin = admin
        self.configuration = configuration
        self.queue = queue
        self.prefetch = prefetch
        self.patience = patience
    }

    /// How a look ended.
    public struct Look: Sendable, Hashable {
        /// Messages that were there at the start.
        public var expected = 0
        public var seen = 0
        /// Whether more was there than can be held at a time.
        public var isCut = false
        /// Whether it was asked to stop before the end.
        public var isStopped = false
        /// Whether somebody else consumed it at the start, who may have held more than was seen.
        public var isShared = false

        /// Whether all that was there was looked at.
        public var isWhole: Bool { seen >= expected && !isShared }
    }

    private enum Event: Sendable {
        case subscribed
        case deliveries([Delivery])
        case failed(AMQPError)
        case tick
    }

    /// Hands out what was in the queue at the start, in batches, from the oldest on.
    ///
    /// - Parameters:
    ///   - keepsBodies: otherwise bodies are counted and not kept.
    ///   - started: told how many there are.
    ///   - shouldStop: asked before each batch, and at least twice a second.
    ///   - take: returns the deliveries that are done with; they are acked. What it throws ends the look.
    /// - Throws: ``AMQPError``: 404 where there is no such queue.
    @discardableResult
    public func look(
        keepsBodies: Bool, started: (Int) -> Void = { _ in }, shouldStop: () -> Bool = { false },
        _ take: ([Delivery]) async throws -> [Receipt]
    ) async throws -> Look {
        guard let state = try await whenNobodyConsumes(shouldStop) else {
            throw AMQPError.channelClosed(code: 404, text: "there is no queue '\(queue)'")
        }
        var look = Look(expected: state.messages, isShared: state.consumers > 0)
        if shouldStop() {
            look.isStopped = true
            return look
        }
        started(look.expected)
        if look.expected == 0 { return look }

        let (events, post) = AsyncStream<Event>.makeStream()
        let handover = Handover()
        let subscription = Subscription(
            queue: queue, prefetch: prefetch, consumers: (look.expected - 1) / Int(prefetch) + 1,
            bodyLimit: keepsBodies ? 64 << 20 : 0, rejectsUnreadable: false)
        let consumer = try AMQPConsumer(configuration, subscriptions: [subscription]) { event in
            switch event {
            case .deliveries(let deliveries):
                handover.awaitRoom()
                post.yield(.deliveries(deliveries))
            case .subscriptionLost(_, _, let error), .connectionLost(let error), .retrying(let error, _):
                post.yield(.failed(error))
            case .subscribed: post.yield(.subscribed)
            case .lockHeld, .lockRefused, .lockLost, .rejectedUnread: break
            }
        }
        consumer.start()
        var settled = 0
        let result: Result<Void, any Error>
        do {
            result = .success(
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        while (try? await Task.sleep(for: .milliseconds(250))) != nil { post.yield(.tick) }
                    }
                    defer { group.cancelAll() }
                    let capacity = Int(subscription.prefetch) * subscription.consumers
                    try await read(events, handover, consumer, capacity, &look, &settled, shouldStop, take)
                })
        } catch {
            result = .failure(error)
        }
        handover.end()
        if settled > Self.uncertainAcks { try? await Task.sleep(for: Self.timeForAcks) }
        await consumer.close(within: patience)
        // The next who counts is to find all of it.
        _ = try? await whenNobodyConsumes()
        try result.get()
        return look
    }

    private func read(
        _ events: AsyncStream<Event>, _ handover: Handover, _ consumer: AMQPConsumer, _ capacity: Int,
        _ look: inout Look, _ settled: inout Int, _ shouldStop: () -> Bool,
        _ take: ([Delivery]) async throws -> [Receipt]
    ) async throws {
        var lastNews = ContinuousClock.now
        var received = 0
        for await event in events {
            if shouldStop() {
                look.isStopped = true
                return
            }
            switch event {
            case .failed(let error): throw error
            case .subscribed: lastNews = .now
            case .deliveries(let all):
                received += all.count
                // What came in meanwhile is for the next look; a replayed command may have failed again.
                let batch = Array(all.prefix(look.expected - look.seen))
                look.seen += batch.count
                let done = try await take(batch)
                settled += done.count
                consumer.settle(done.map { .ack($0) })
                handover.taken()
                // Counted from here: what came in while the batch was worked on is read before any tick that is late.
                lastNews = .now
                if look.seen == look.expected { return }
            case .tick:
                let silence = ContinuousClock.now - lastNews
                if silence < .seconds(1) { continue }
                if received - settled >= capacity {
                    look.isCut = true
                    return
                }
                guard silence > patience else { continue }
                // Somebody else has taken some of it.
                if try await admin.queue(queue)?.messages ?? 0 == 0 { return }
                throw AMQPError.timeout("reading queue '\(queue)'")
            }
        }
    }

    /// The state of the queue once all that anybody held is back: of a process that was killed a moment ago the broker may
    /// not have noticed yet, and does not count what that one holds. Does not wait for ever, since somebody else may consume
    /// the queue for good.
    private func whenNobodyConsumes(_ shouldStop: () -> Bool = { false }) async throws -> AMQPAdmin.Queue? {
        let begun = ContinuousClock.now
        while true {
            let asked = ContinuousClock.now
            guard let state = try await admin.queue(queue) else { return nil }
            // One that does not say within 250 ms is reported as empty and unused (`rabbit_quorum_queue:stat`).
            let isKnown = state.messages + state.consumers > 0 || .now - asked < .milliseconds(200)
            if isKnown && state.consumers == 0 || .now - begun > patience || shouldStop() { return state }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}

/// Keeps the consumer from running ahead of who takes its batches: one is under way and one waits, however many are held.
///
/// Unchecked, since the condition's lock guards all of its state; `Mutex` has none to wait for.
private final class Handover: @unchecked Sendable {
    /// The consumer's thread has heartbeats to send.
    private static let longestWait: TimeInterval = 5

    private let condition = NSCondition()
    private var waiting = 0
    private var isOver = false

    /// Called on the consumer's thread, which waits while the one before was not taken.
    func awaitRoom() {
        let deadline = Date(timeIntervalSinceNow: Self.longestWait)
        condition.withLock {
            while waiting > 1, !isOver, condition.wait(until: deadline) {}
            waiting += 1
        }
    }

    func taken() {
        condition.withLock {
            waiting -= 1
            condition.signal()
        }
    }

    /// Nobody takes any more.
    func end() {
        condition.withLock {
            isOver = true
            condition.signal()
        }
    }
}
