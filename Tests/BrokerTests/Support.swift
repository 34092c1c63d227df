// What the tests against a real broker share: clients that are closed, and events that can be awaited.
import AMQP
import AMQPMessage
import Foundation
import TestSupport

func configuration(_ url: String, _ name: String = "broker-tests") throws -> AMQPConfiguration {
    try AMQPConfiguration(
        urls: [url], connectionName: name, backoff: Backoff(minimum: .milliseconds(50), maximum: .milliseconds(500)))
}

/// Runs `body` with a queue of its own on the shared broker, and deletes it afterwards.
func withQueue<Value>(
    arguments: FieldTable = ["x-queue-type": .string("quorum")], _ body: (AMQPAdmin, String) async throws -> Value
) async throws -> Value {
    try await AMQPAdmin.withConnection(configuration(TestBroker.url)) { admin in
        let queue = uniqueName("amqp-test")
        try await admin.declareQueue(queue, arguments: arguments)
        do {
            let value = try await body(admin, queue)
            try await admin.deleteQueue(queue)
            return value
        } catch {
            _ = try? await admin.deleteQueue(queue)
            throw error
        }
    }
}

/// A publisher that is closed at the end of a scope.
func withPublisher<Value>(
    _ url: String? = nil, limits: PublisherLimits = PublisherLimits(),
    onEvent: @escaping @Sendable (PublisherEvent) -> Void = { _ in },
    _ body: (AMQPPublisher) async throws -> Value
) async throws -> Value {
    let publisher = try AMQPPublisher(configuration(url ?? TestBroker.url), limits: limits, onEvent: onEvent)
    publisher.start()
    do {
        let value = try await body(publisher)
        await publisher.close()
        return value
    } catch {
        await publisher.close()
        throw error
    }
}

/// A consumer whose events are read one after another.
final class RecordingConsumer: Sendable {
    let consumer: AMQPConsumer
    let events: AsyncStream<ConsumerEvent>

    init(_ subscriptions: [Subscription], on url: String? = nil) throws {
        let (stream, continuation) = AsyncStream.makeStream(of: ConsumerEvent.self)
        events = stream
        consumer = try AMQPConsumer(configuration(url ?? TestBroker.url), subscriptions: subscriptions) {
            continuation.yield($0)
        }
        consumer.start()
    }

    /// The next deliveries, until there are `count`; other events are passed over.
    func deliveries(_ count: Int) async throws -> [Delivery] {
        var found: [Delivery] = []
        for await event in events {
            if case .deliveries(let batch) = event { found += batch }
            if found.count >= count { return found }
        }
        throw Missing("\(count) deliveries, got \(found.count)")
    }

    /// The next event for which `pick` finds something; those before it are passed over.
    func next<Value>(_ what: String, _ pick: (ConsumerEvent) -> Value?) async throws -> Value {
        for await event in events {
            if let value = pick(event) { return value }
        }
        throw Missing(what)
    }

    func subscribed() async throws -> UInt64 {
        try await next("a subscription") { event in
            if case .subscribed(_, let generation) = event { generation } else { nil }
        }
    }
}

struct Missing: Error, CustomStringConvertible {
    let description: String

    init(_ what: String) {
        description = "missing: \(what)"
    }
}

/// Events of a publisher, to be awaited.
final class PublisherEvents: Sendable {
    let stream: AsyncStream<PublisherEvent>
    let take: @Sendable (PublisherEvent) -> Void
    private let continuation: AsyncStream<PublisherEvent>.Continuation

    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: PublisherEvent.self)
        self.stream = stream
        self.continuation = continuation
        take = { continuation.yield($0) }
    }

    /// Ends ``stream`` after what has come.
    func finish() { continuation.finish() }

    func next<Value>(_ what: String, _ pick: (PublisherEvent) -> Value?) async throws -> Value {
        for await event in stream {
            if let value = pick(event) { return value }
        }
        throw Missing(what)
    }
}

func outgoing(
    _ text: String, to queue: String, id: String? = UUID().uuidString, exchange: String = "", mandatory: Bool = true
) -> OutgoingMessage {
    OutgoingMessage(
        Message(properties: MessageProperties(deliveryMode: 2, messageID: id), body: Array(text.utf8)),
        exchange: exchange, routingKey: queue, mandatory: mandatory)
}

extension Delivery {
    var text: String { String(decoding: message.body, as: UTF8.self) }
}
