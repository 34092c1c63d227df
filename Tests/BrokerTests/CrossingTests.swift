// What comes while something else is on its way in the other direction.
import AMQP
import Testing

@Suite(.timeLimit(.minutes(2))) struct CrossingTests {
    @Test func bothSidesCloseAChannelAtTheSameTime() async throws {
        let broker = try ScriptedBroker()
        let consumer = try RecordingConsumer([Subscription(queue: "first", prefetch: 1)], on: broker.url)
        let client = try broker.accept()
        let first = try client.letConsume()
        _ = try await consumer.subscribed()
        consumer.consumer.unsubscribe("first")
        try client.expectMethod(20, 40)
        try client.closeChannel(first, code: 406)
        try client.expectMethod(20, 41)
        _ = try await consumer.next("the end of the first") { if case .subscriptionLost = $0 { true } else { nil } }
        consumer.consumer.subscribe(Subscription(queue: "second", prefetch: 1))
        // The answer to the close that came when the broker had closed the channel itself (AMQP 0-9-1, channel.close).
        try client.confirmChannelClose(first)
        let second = try client.letConsume()
        try client.deliver(1, on: second)
        let isDelivered = try await consumer.next("a delivery") { event -> Bool? in
            switch event {
            case .deliveries: true
            case .connectionLost: false
            case .subscribed, .subscriptionLost, .lockHeld, .lockRefused, .lockLost, .rejectedUnread, .retrying: nil
            }
        }
        #expect(isDelivered)
        consumer.consumer.closeNow()
    }

    @Test func aConfirmComesAsItsChannelIsReplaced() async throws {
        let broker = try ScriptedBroker()
        let (results, post) = AsyncStream.makeStream(of: PublishResult.self)
        let publisher = try AMQPPublisher(configuration(broker.url)) { for result in $0 { post.yield(result) } }
        publisher.start()
        func enqueue(_ ticket: UInt64) {
            publisher.enqueue([
                Publication(ticket: ticket, message: outgoing("m", to: "q"), deadline: .now + .seconds(60))
            ])
        }
        var outcomes = results.makeAsyncIterator()
        let client = try broker.accept()
        let first = try client.letPublish()
        for ticket: UInt64 in [1, 2] {
            enqueue(ticket)
            try client.expectPublish()
        }
        // A younger channel is not replaced; no event tells its age.
        try await Task.sleep(for: .milliseconds(600))
        try client.nack(1, on: first)
        #expect(await outcomes.next() == PublishResult(ticket: 1, outcome: .nacked))
        // Once it has waited long enough for the second.
        try client.expectMethod(20, 40)
        try client.ack(2, on: first)
        try client.confirmChannelClose(first)
        let second = try client.letPublish()
        #expect(await outcomes.next() == PublishResult(ticket: 2, outcome: .failed(.channelReplaced)))
        enqueue(3)
        try client.expectPublish()
        try client.ack(1, on: second)
        #expect(await outcomes.next() == PublishResult(ticket: 3, outcome: .confirmed))
        publisher.closeNow()
    }
}
