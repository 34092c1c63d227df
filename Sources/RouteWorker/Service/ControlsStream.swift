// The controls on the broker: a stream whose last state holds for every worker.

public import AMQP
import AMQPMessage
public import FleetControls
import IdempotencyStore
public import Logging
import RoutingContract

/// Why controls cannot be read or changed.
public enum ControlsError: Error, Sendable, Hashable, CustomStringConvertible {
    case missing(queue: String)
    case accessRefused(queue: String, String)
    case noStream(queue: String)
    /// The state was written by a later version of this program.
    case newerSchema(Int)
    /// Not now, for this reason.
    case unavailable(String)
    /// Somebody else was changing them all the time.
    case busy

    public var description: String {
        switch self {
        case .missing(let queue):
            "there is no queue '\(queue)', in which operators' controls stand; run `route-worker topology declare`"
        case .accessRefused(let queue, let text):
            "operators' controls cannot be read: let this user read queue '\(queue)' (\(text))"
        case .noStream(let queue):
            "queue '\(queue)' is no stream: name another `controls.queue`, or, if it is nobody else's and empty, delete it and "
                + "run `route-worker topology declare`"
        case .newerSchema(let schema):
            "the controls were written by a later version of route-worker (schema \(schema)); use that one"
        case .unavailable(let why): "the controls cannot be reached: \(why)"
        case .busy: "somebody else is changing the controls; try again"
        }
    }
}

/// Reads the stream, and follows it over losses of the connection.
public actor ControlsStream {
    private enum Event: Sendable {
        case consumer(ConsumerEvent)
        case tick
        case limit
    }

    /// A stream that says nothing for so long after it is consumed may be empty.
    private static let quiet: Duration = .milliseconds(250)
    private static let offsetHeader = "x-stream-offset"

    private let configuration: AMQPConfiguration
    private let queue: String
    private let logger: Logger?
    private let connectionLog: ConnectionLog?
    private let consumer: AMQPConsumer
    private let events: AsyncStream<Event>
    private let post: AsyncStream<Event>.Continuation
    private var reading = ControlReading()
    /// Subscriptions that are being given up; until then nothing is heard of the one that follows.
    private var closing = 0
    private var consumedSince: ContinuousClock.Instant?
    private var lastError: AMQPError?

    /// - Parameter logger: for what goes on while it is followed; `nil` for somebody who only looks.
    /// - Throws: ``AMQPError/library(code:text:)`` when the process has no file descriptor left.
    public init(_ configuration: AMQPConfiguration, queue: String, logger: Logger? = nil) throws(AMQPError) {
        self.configuration = configuration
        self.queue = queue
        self.logger = logger
        connectionLog = logger.map { ConnectionLog("controls", logger: $0) }
        let (events, post) = AsyncStream<Event>.makeStream()
        (self.events, self.post) = (events, post)
        consumer = try AMQPConsumer(configuration, subscriptions: [Self.subscription(queue, from: "last")]) { event in
            post.yield(.consumer(event))
        }
    }

    private static func subscription(_ queue: String, from offset: String) -> Subscription {
        Subscription(
            queue: queue, prefetch: 100, rejectsUnreadable: false, arguments: [offsetHeader: .string(offset)])
    }

    /// Finds what holds.
    ///
    /// - Parameter limit: how long that may take; without one it waits for the broker.
    /// - Throws: ``ControlsError``, and `CancellationError`.
    public func open(within limit: Duration? = nil) async throws -> KnownControls {
        consumer.start()
        return try await known(within: limit, isOpening: true) { _ in true }
    }

    /// Waits for a state of at least this version.
    ///
    /// - Throws: ``ControlsError/unavailable(_:)`` where it does not come in time, and `CancellationError`.
    public func state(from version: Int, within limit: Duration) async throws -> ControlState {
        try await known(within: limit, isOpening: false) { $0.state.version >= version }.state
    }

    private func known(
        within limit: Duration?, isOpening: Bool, where isWanted: (KnownControls) -> Bool
    ) async throws -> KnownControls {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [post] in
                while (try? await Task.sleep(for: Self.quiet)) != nil { post.yield(.tick) }
            }
            if let limit {
                group.addTask { [post] in
                    if (try? await Task.sleep(for: limit)) != nil { post.yield(.limit) }
                }
            }
            defer { group.cancelAll() }
            for await event in events {
                if let known = try await take(event, isOpening: isOpening), isWanted(known) { return known }
            }
            throw CancellationError()
        }
    }

    /// Waits for the next state; `nil` once the task is cancelled.
    public func next() async -> ControlState? {
        for await event in events {
            // Nothing of what is thrown while it is opened is thrown later.
            if let known = try? await take(event, isOpening: false) { return known.state }
        }
        return nil
    }

    /// Makes this state hold, or says why not.
    ///
    /// - Throws: ``ControlsError``.
    public func publish(_ state: ControlState) async throws {
        let publisher = try AMQPPublisher(configuration)
        publisher.start()
        var generator = SystemRandomNumberGenerator()
        let message = state.message(RequestID.random(using: &generator).description, at: StoreClock.system.now())
        let outcome = await publisher.publish(OutgoingMessage(message, routingKey: queue), timeout: .seconds(20))
        await publisher.close()
        switch outcome {
        case .confirmed: return
        case .returned: throw ControlsError.missing(queue: queue)
        case .nacked: throw ControlsError.unavailable("the broker does not take them")
        case .failed(let error), .refused(let error): throw ControlsError.unavailable("\(error)")
        }
    }

    public func close() async { await consumer.close() }

    // MARK: -

    private func take(_ event: Event, isOpening: Bool) async throws -> KnownControls? {
        switch event {
        case .limit: throw ControlsError.unavailable(lastError.map { "\($0)" } ?? "the broker does not answer in time")
        case .tick:
            guard let since = consumedSince, .now - since > Self.quiet else { return nil }
            return try await perform(reading.heardNothing(), isOpening: isOpening)
        case .consumer(let event):
            switch event {
            case .subscribed: if closing == 0 { consumedSince = .now }
            case .deliveries(let deliveries):
                if closing == 0 { return try await take(deliveries, isOpening: isOpening) }
            case .subscriptionLost(_, _, .closed): closing = max(closing - 1, 0)
            case .subscriptionLost(_, _, let error): if closing == 0 { try lost(error, isOpening: isOpening) }
            case .connectionLost(let error):
                lastError = error
                connectionLog?.lost(error)
            case .retrying(let error, let delay):
                lastError = error
                connectionLog?.failed(
                    error, retryingAfter: delay,
                    isOpening
                        ? "cannot read the controls; no command is taken before that"
                        : "cannot read the controls; what held holds on")
            case .lockHeld, .lockRefused, .lockLost, .rejectedUnread: break
            }
            return nil
        }
    }

    private func take(_ deliveries: [Delivery], isOpening: Bool) async throws -> KnownControls? {
        // A stream forgets nothing for it, but sends no more than the prefetch without.
        consumer.settle(deliveries.map { .ack($0.receipt) })
        var messages: [(offset: Int64, body: [UInt8])] = []
        for delivery in deliveries {
            // A stream numbers all that it delivers, and the broker refuses to consume anything else from an offset.
            guard case .int64(let offset) = delivery.message.properties.headers[Self.offsetHeader] else { continue }
            messages.append((offset, delivery.message.body))
        }
        return try await perform(reading.took(messages), isOpening: isOpening)
    }

    private func perform(_ actions: [ControlReading.Action], isOpening: Bool) async throws -> KnownControls? {
        var known: KnownControls?
        for action in actions {
            switch action {
            case .know(let controls): known = controls
            case .readFromFirst: consumeAnew(from: "first")
            case .markEnd:
                do {
                    try await publish(ControlState())
                } catch ControlsError.unavailable(let why) {
                    logger?.warning("cannot read the controls", metadata: [LogKey.error: "\(why)"])
                    reading.notMarked()
                }
            case .passOver(let why):
                logger?.error(
                    "a message among the controls says nothing: what held holds on; any change of a control mends it",
                    metadata: [LogKey.queue: "\(queue)", LogKey.error: "\(why)"])
            case .refuse(let schema):
                let error = ControlsError.newerSchema(schema)
                logger?.error("what held holds on", metadata: [LogKey.error: "\(error)"])
                if isOpening { throw error }
            }
        }
        return known
    }

    private func lost(_ error: AMQPError, isOpening: Bool) throws {
        if isOpening, let reason = whyNever(error) { throw reason }
        lastError = error
        consumedSince = nil
        logger?.warning(
            "not reading the controls; what held holds on",
            metadata: [LogKey.queue: "\(queue)", LogKey.error: "\(error)"])
        // States that held long ago must not hold again while it is read anew.
        let wasFromFirst = reading.isFromFirst
        reading.restart()
        if wasFromFirst { consumeAnew(from: "last") }
    }

    /// What waiting does not mend; `nil` for what it does.
    private func whyNever(_ error: AMQPError) -> ControlsError? {
        if case .accessRefused(let text) = error { return .accessRefused(queue: queue, text) }
        if error.isMissing { return .missing(queue: queue) }
        guard case .channelClosed(let code, let text) = error else { return nil }
        // Nor does its node have a replica of it at first, which is a 406 as well.
        return code == 406 && text.contains("x-stream-offset") ? .noStream(queue: queue) : nil
    }

    private func consumeAnew(from offset: String) {
        consumedSince = nil
        closing += 1
        consumer.unsubscribe(queue)
        consumer.subscribe(Self.subscription(queue, from: offset))
    }
}
