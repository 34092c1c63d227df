// Looks at what a queue holds without changing its order or content.

public import AMQP
import AMQPMessage

/// A queue whose messages are held while they are looked at, and go back in their order unless they are acked.
///
/// All of it is consumed and none acked; at the end the channel is closed without a cancel, upon which the broker puts back
/// what is unsettled, in its order. It does the same when this process is killed.
public struct HeldQueue: Sendable {
    /// As many as a consumer can hold (`basic.qos` has 16 bits).
    public static let limit = 65_535
    /// After so long without news nothing is on its way any more.
    private static let quiet: Duration = .seconds(5)
    /// How long the broker may be silent although there should be more.
    private static let patience: Duration = .seconds(30)

    private let admin: AMQPAdmin
    private let configuration: AMQPConfiguration
    private let queue: String

    public init(_ admin: AMQPAdmin, _ configuration: AMQPConfiguration, queue: String) {
        self.admin = admin
        self.configuration = configuration
        self.queue = queue
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
    }

    private enum Event: Sendable {
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
        guard let state = try await admin.queue(queue) else {
            throw AMQPError.channelClosed(code: 404, text: "there is no queue '\(queue)'")
        }
        var look = Look(expected: state.messages)
        started(look.expected)
        if look.expected == 0 { return look }

        let (events, post) = AsyncStream<Event>.makeStream()
        let subscription = Subscription(
            queue: queue, prefetch: UInt16(Self.limit), bodyLimit: keepsBodies ? 64 << 20 : 0, rejectsUnreadable: false)
        let consumer = try AMQPConsumer(configuration, subscriptions: [subscription]) { event in
            switch event {
            case .deliveries(let deliveries): post.yield(.deliveries(deliveries))
            case .subscriptionLost(_, _, let error), .connectionLost(let error), .retrying(let error, _):
                post.yield(.failed(error))
            case .subscribed, .lockHeld, .lockRefused, .lockLost, .rejectedUnread: break
            }
        }
        consumer.start()
        // How many are held and not done with.
        var held = 0
        let result: Result<Void, any Error>
        do {
            result = .success(
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        while (try? await Task.sleep(for: .milliseconds(250))) != nil { post.yield(.tick) }
                    }
                    defer { group.cancelAll() }
                    try await read(events, consumer, &look, &held, shouldStop, take)
                })
        } catch {
            result = .failure(error)
        }
        await consumer.close(within: .seconds(10))
        // The next who looks is to find all of it.
        try? await backInPlace(held)
        try result.get()
        return look
    }

    private func read(
        _ events: AsyncStream<Event>, _ consumer: AMQPConsumer, _ look: inout Look, _ held: inout Int,
        _ shouldStop: () -> Bool, _ take: ([Delivery]) async throws -> [Receipt]
    ) async throws {
        var lastNews = ContinuousClock.now
        for await event in events {
            if shouldStop() {
                look.isStopped = true
                return
            }
            switch event {
            case .failed(let error): throw error
            case .deliveries(let all):
                held += all.count
                // What came in meanwhile is for the next look; a replayed command may have failed again.
                let batch = Array(all.prefix(look.expected - look.seen))
                look.seen += batch.count
                let done = try await take(batch)
                held -= done.count
                consumer.settle(done.map { .ack($0) })
                // Counted from here: what came in while the batch was worked on is read before any tick that is late.
                lastNews = .now
                if look.seen == look.expected { return }
            case .tick:
                let silence = ContinuousClock.now - lastNews
                if silence < .seconds(1) { continue }
                if held >= Self.limit {
                    look.isCut = true
                    return
                }
                // Somebody else has taken some of it, if what is under way to us did not take so long.
                if silence > Self.quiet, try await admin.queue(queue)?.messages ?? 0 == 0 { return }
                if silence > Self.patience { throw AMQPError.timeout("reading queue '\(queue)'") }
            }
        }
    }

    private func backInPlace(_ held: Int) async throws {
        let deadline = ContinuousClock.now + .seconds(2)
        while ContinuousClock.now < deadline, try await admin.queue(queue)?.messages ?? held < held {
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}
