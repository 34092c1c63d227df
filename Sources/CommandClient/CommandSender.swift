// Sends commands as a platform would, and waits for their answers.

public import AMQP
import AMQPMessage
import RoutingContract

/// Publishes commands, confirmed, and collects their answers on a reply queue of its own.
public struct CommandSender: Sendable {
    /// One command that was sent.
    public struct Sent: Sendable {
        public let spec: CommandSpec
        /// Whether the broker has it.
        public var outcome: PublishOutcome
        /// The answer, if one was waited for and came.
        public var answer: Answer?
        /// Whether an answer comes here; not so where the command names a reply queue of its own.
        public var isAwaited: Bool
    }

    /// How far it is.
    public struct Progress: Sendable, Hashable {
        public var confirmed: Int
        public var answered: Int
    }

    /// Reply queues start so; a worker allows answers to them unless its configuration has a list of its own.
    public static let replyQueuePrefix = "routing.replies."
    /// A reply queue nobody reads is removed by the broker after this many milliseconds.
    private static let replyQueueExpiry: Int32 = 600_000
    private static let batch = 200
    private static let publishTimeout: Duration = .seconds(30)

    private let configuration: AMQPConfiguration
    private let exchange: String
    private let queue: String

    /// - Parameters:
    ///   - exchange: the empty one sends to the queue directly.
    ///   - queue: the commands queue, or the routing key for `exchange`.
    public init(_ configuration: AMQPConfiguration, exchange: String = "", queue: String) {
        self.configuration = configuration
        self.exchange = exchange
        self.queue = queue
    }

    /// Sends all and returns them in their order.
    ///
    /// - Parameters:
    ///   - patience: how long to go on without anything new; `nil` does not wait for answers.
    ///   - progress: told now and then.
    /// - Throws: ``AMQPError`` when the broker cannot be reached.
    public func send(
        _ specs: [CommandSpec], awaitingAnswers patience: Duration?,
        progress: @escaping @Sendable (Progress) -> Void = { _ in }
    ) async throws -> [Sent] {
        var generator = SystemRandomNumberGenerator()
        let session = RequestID.random(using: &generator).description
        guard let patience else {
            // Says at once what a publisher would try again and again.
            try await AMQPAdmin.withConnection(configuration) { _ in }
            let publisher = try AMQPPublisher(configuration)
            publisher.start()
            var sent = specs.map { Sent(spec: $0, outcome: .failed(.closed), answer: nil, isAwaited: false) }
            var state = Progress(confirmed: 0, answered: 0)
            await publish(specs.map { message(for: $0, nil, nil) }, with: publisher) { index, outcome in
                sent[index].outcome = outcome
                if outcome == .confirmed { state.confirmed += 1 }
                progress(state)
            }
            await publisher.close()
            return sent
        }
        let replyQueue = Self.replyQueuePrefix + session
        try await AMQPAdmin.withConnection(configuration) { admin in
            try await admin.declareQueue(
                replyQueue, durable: false, arguments: ["x-expires": .int32(Self.replyQueueExpiry)])
        }
        let sent = try await exchange(specs, session: session, replyQueue: replyQueue, patience, progress)
        try await AMQPAdmin.withConnection(configuration) { try await $0.deleteQueue(replyQueue) }
        return sent
    }

    // MARK: -

    private enum Event: Sendable {
        case published(Int, PublishOutcome)
        case delivered([Delivery])
        case tick
    }

    private func exchange(
        _ specs: [CommandSpec], session: String, replyQueue: String, _ patience: Duration,
        _ progress: @Sendable (Progress) -> Void
    ) async throws -> [Sent] {
        var sent: [Sent] = []
        var messages: [OutgoingMessage] = []
        var awaited: [String: Int] = [:]
        for (index, spec) in specs.enumerated() {
            let isAwaited = spec.message.properties.replyTo == nil
            let correlationID = spec.message.properties.correlationID ?? "\(session).\(index)"
            if isAwaited { awaited[correlationID] = index }
            sent.append(Sent(spec: spec, outcome: .failed(.closed), answer: nil, isAwaited: isAwaited))
            messages.append(message(for: spec, isAwaited ? replyQueue : nil, correlationID))
        }

        let (events, post) = AsyncStream<Event>.makeStream()
        let consumer = try AMQPConsumer(
            configuration, subscriptions: [Subscription(queue: replyQueue, prefetch: 1000)]
        ) { event in
            if case .deliveries(let deliveries) = event { post.yield(.delivered(deliveries)) }
        }
        let publisher = try AMQPPublisher(configuration)
        consumer.start()
        publisher.start()
        var state = Progress(confirmed: 0, answered: 0)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [messages] in
                await publish(messages, with: publisher) { post.yield(.published($0, $1)) }
            }
            group.addTask {
                while (try? await Task.sleep(for: .milliseconds(100))) != nil { post.yield(.tick) }
            }
            var unpublished = specs.count
            var lastNews = ContinuousClock.now
            for await event in events {
                switch event {
                case .published(let index, let outcome):
                    lastNews = .now
                    unpublished -= 1
                    sent[index].outcome = outcome
                    if outcome == .confirmed {
                        state.confirmed += 1
                    } else {
                        // What the broker does not have nobody will answer.
                        awaited = awaited.filter { $0.value != index }
                    }
                case .delivered(let deliveries):
                    lastNews = .now
                    for delivery in deliveries {
                        guard let answer = Answer(delivery.message), let correlationID = answer.correlationID,
                            let index = awaited.removeValue(forKey: correlationID)
                        else { continue }
                        sent[index].answer = answer
                        state.answered += 1
                    }
                    consumer.settle(deliveries.map { .ack($0.receipt) })
                case .tick:
                    break
                }
                progress(state)
                if unpublished == 0 && awaited.isEmpty || ContinuousClock.now - lastNews > patience { break }
            }
            group.cancelAll()
        }
        await publisher.close()
        await consumer.close()
        return sent
    }

    private func message(for spec: CommandSpec, _ replyQueue: String?, _ correlationID: String?) -> OutgoingMessage {
        var message = spec.message
        if let replyQueue { message.properties.replyTo = replyQueue }
        if let correlationID { message.properties.correlationID = correlationID }
        // Mandatory messages with an id of their own fly together. One without a RequestId header keeps none, since a
        // `message_id` would be taken for its RequestId.
        if message.properties.messageID == nil, message.properties.headers[HeaderName.requestID] != nil {
            message.properties.messageID = correlationID
        }
        return OutgoingMessage(message, exchange: exchange, routingKey: spec.routingKey ?? queue)
    }

    private func publish(
        _ messages: [OutgoingMessage], with publisher: AMQPPublisher, _ published: (Int, PublishOutcome) -> Void
    ) async {
        var start = 0
        while start < messages.count {
            let end = min(start + Self.batch, messages.count)
            let outcomes = await publisher.publish(Array(messages[start..<end]), timeout: Self.publishTimeout)
            for (offset, outcome) in outcomes.enumerated() { published(start + offset, outcome) }
            start = end
        }
    }
}
