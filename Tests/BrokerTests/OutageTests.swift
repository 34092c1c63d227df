// Brokers that die, freeze or refuse.
import AMQP
import AMQPMessage
import Foundation
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(4))) struct OutageTests {
    private let timeout: Duration = .seconds(60)

    /// Publishes until everything is confirmed, as the pipeline does.
    private func publishAll(_ publisher: AMQPPublisher, _ numbers: Range<Int>, to queue: String) async throws {
        var waiting = Array(numbers)
        let deadline = ContinuousClock.now + .seconds(120)
        while !waiting.isEmpty {
            try #require(.now < deadline)
            let outcomes = await publisher.publish(
                waiting.map { outgoing("\($0)", to: queue, id: "\($0)") }, timeout: timeout)
            var again: [Int] = []
            for (number, outcome) in zip(waiting, outcomes) {
                switch outcome {
                case .confirmed: break
                // A queue whose leader is being elected does not route.
                case .failed, .nacked, .returned: again.append(number)
                case .refused(let error): Issue.record("\(number): \(error)")
                }
            }
            waiting = again
        }
    }

    @Test func aQueueThatConfirmsNothingHoldsUpNoOther() async throws {
        try await withPrivateBroker { broker in
            let queues = ["stuck", "well"]
            try await AMQPAdmin.withConnection(configuration(broker.url)) { admin in
                for queue in queues {
                    try await admin.declareQueue(queue, arguments: ["x-queue-type": .string("quorum")])
                }
            }
            try await withPublisher(broker.url) { publisher in
                // So that the channel knows both: it would refuse what it publishes first to a queue without a leader.
                let first = queues.map { outgoing("0", to: $0, id: $0) }
                #expect(await publisher.publish(first, timeout: timeout) == [.confirmed, .confirmed])
                try await broker.letQueuesSettle()
                try await broker.stopLeader(of: "stuck")
                let unanswered = outgoing("1", to: "stuck", id: "1")
                let outcome = await publisher.publish(unanswered, timeout: .seconds(1))
                #expect(outcome == .failed(.timeout("waiting for the broker's confirm")))
                // Once more, as the pipeline does, and another behind it.
                publisher.enqueue([Publication(ticket: 1, message: unanswered, deadline: .now + timeout)])
                let other = await publisher.publish(outgoing("2", to: "well", id: "2"), timeout: timeout)
                #expect(other == .confirmed)
                // The first never will be.
                publisher.closeNow()
            }
        }
    }

    @Test func nothingIsLostWhenTheBrokerIsKilledAndRestarted() async throws {
        try await withPrivateBroker { broker in
            let queue = "outage"
            try await AMQPAdmin.withConnection(configuration(broker.url)) { admin in
                try await admin.declareQueue(queue, arguments: ["x-queue-type": .string("quorum")])
            }
            try await broker.letQueuesSettle()
            let events = PublisherEvents()
            let consumer = try RecordingConsumer([Subscription(queue: queue, prefetch: 200)], on: broker.url)
            _ = try await consumer.subscribed()
            try await withPublisher(broker.url, onEvent: events.take) { publisher in
                try await publishAll(publisher, 0..<500, to: queue)
                async let rest: Void = publishAll(publisher, 500..<20_000, to: queue)
                var seen: Set<String> = []
                var generations: Set<UInt64> = []
                var isKilled = false
                for await event in consumer.events {
                    switch event {
                    case .deliveries(let batch):
                        for delivery in batch {
                            seen.insert(delivery.text)
                            generations.insert(delivery.receipt.generation)
                        }
                        consumer.consumer.settle(batch.map { .ack($0.receipt) })
                        if seen.count > 2000, !isKilled {
                            isKilled = true
                            try await broker.kill()
                            try await broker.restart()
                        }
                    case .subscribed, .subscriptionLost, .lockHeld, .lockRefused, .lockLost, .rejectedUnread,
                        .connectionLost, .retrying:
                        break
                    }
                    if seen.count == 20_000 { break }
                }
                try await rest
                #expect(generations.count >= 2)
                _ = try await events.next("the loss") { if case .connectionLost = $0 { true } else { nil } }
            }
            await consumer.consumer.close()
        }
    }

    @Test func memoryAlarmBlocksPublishersAndIsTold() async throws {
        try await withPrivateBroker { broker in
            try await AMQPAdmin.withConnection(configuration(broker.url)) { admin in
                try await admin.declareQueue("alarm")
                let events = PublisherEvents()
                try await withPublisher(broker.url, onEvent: events.take) { publisher in
                    #expect(await publisher.publish(outgoing("before", to: "alarm"), timeout: timeout) == .confirmed)
                    try await broker.ctl(["set_vm_memory_high_watermark", "0.00001"])
                    let large = String(repeating: "x", count: 200_000)
                    async let stuck = publisher.publish(
                        (0..<100).map { outgoing(large, to: "alarm", id: "\($0)") }, timeout: .seconds(10))
                    let reason = try await events.next("blocked") { event in
                        if case .blocked(let reason) = event { reason } else { nil }
                    }
                    #expect(reason.contains("memory"))
                    #expect(publisher.status.blockedBecause == reason)
                    // Those not sent say why; those sent before the broker said so are in doubt.
                    let outcomes = await stuck
                    #expect(outcomes.last == .failed(.blocked(reason)))
                    for outcome in outcomes {
                        switch outcome {
                        case .failed(.blocked), .failed(.timeout), .confirmed: break
                        case .failed, .returned, .nacked, .refused: Issue.record("\(outcome)")
                        }
                    }
                    try await broker.ctl(["set_vm_memory_high_watermark", "0.6"])
                    _ = try await events.next("unblocked") { if case .unblocked = $0 { true } else { nil } }
                    #expect(await publisher.publish(outgoing("after", to: "alarm"), timeout: timeout) == .confirmed)
                }
            }
        }
    }

    /// A peer that stops reading without closing: only heartbeats tell.
    @Test func frozenBrokerIsGivenUpOnAndFoundAgain() async throws {
        try await withPrivateBroker { broker in
            try await AMQPAdmin.withConnection(configuration(broker.url)) { try await $0.declareQueue("frozen") }
            let events = PublisherEvents()
            let consumer = try RecordingConsumer(
                [Subscription(queue: "frozen", prefetch: 10)], on: broker.url + "?heartbeat=1&connection_timeout=1000")
            _ = try await consumer.subscribed()
            try await withPublisher(broker.url + "?heartbeat=1&connection_timeout=1000", onEvent: events.take) {
                publisher in
                #expect(await publisher.publish(outgoing("1", to: "frozen"), timeout: timeout) == .confirmed)
                try await broker.suspend()
                async let stuck = publisher.publish(outgoing("2", to: "frozen"), timeout: timeout)
                _ = try await events.next("the loss") { if case .connectionLost = $0 { true } else { nil } }
                _ = try await consumer.next("the loss") { if case .connectionLost = $0 { true } else { nil } }
                guard case .failed = await stuck else {
                    Issue.record("in doubt")
                    return
                }
                #expect(!consumer.consumer.status.isConnected)
                try await broker.resume()
                _ = try await consumer.subscribed()
                #expect(await publisher.publish(outgoing("3", to: "frozen"), timeout: timeout) == .confirmed)
            }
            await consumer.consumer.close()
        }
    }

    @Test func refusalsSayWhatIsWrong() async throws {
        func error(_ url: String) async throws -> AMQPError? {
            do {
                try await AMQPAdmin.withConnection(configuration(url)) { _ in }
                return nil
            } catch {
                return error as? AMQPError
            }
        }
        let url = try TestBroker.url
        let endpoint = try AMQPEndpoint(url: url)
        let place = "\(endpoint.host):\(endpoint.port)"
        let credentials = "\(endpoint.user):\(endpoint.password)"
        #expect(
            try await error("amqp://nobody:secret@\(place)") == .authenticationRefused(user: "nobody"))
        #expect(try await error("amqp://\(credentials)@\(place)/missing") == .vhostMissing("missing"))
        #expect(try await error("amqp://\(credentials)@\(place)/") == .vhostMissing(""))
        let port = try FreePort.find()
        guard case .unreachable("127.0.0.1", port, _) = try await error("amqp://127.0.0.1:\(port)") else {
            Issue.record("not unreachable")
            return
        }
        guard case .unreachable = try await error("amqp://no-such-host.invalid") else {
            Issue.record("not unreachable")
            return
        }
        let web = try WebServer()
        guard case .unreachable("127.0.0.1", web.port, let reason) = try await error("amqp://127.0.0.1:\(web.port)"),
            reason.contains("does not speak AMQP")
        else {
            Issue.record("not taken for something else than a broker")
            return
        }
        let silent = try WebServer(says: false)
        guard case .connectionLost(let why) = try await error("amqp://127.0.0.1:\(silent.port)"),
            why.contains("is AMQP spoken on port \(silent.port)?")
        else {
            Issue.record("not asked whether it is a broker")
            return
        }
        guard case .tls(.handshake) = try await error("amqps://\(credentials)@\(place)") else {
            Issue.record("no handshake failure")
            return
        }
    }

    /// Nothing was lost that somebody has ended.
    @Test func aPublisherThatIsStoppedLosesNoConnection() async throws {
        let events = PublisherEvents()
        let publisher = try AMQPPublisher(configuration(TestBroker.url), onEvent: events.take)
        publisher.start()
        _ = try await events.next("the connection") { if case .connected = $0 { true } else { nil } }
        publisher.closeNow()
        await publisher.close()
        events.finish()
        for await event in events.stream { Issue.record("\(event)") }
    }

    @Test func theNextBrokerOfTheListIsTried() async throws {
        try await withQueue { _, queue in
            let dead = "amqp://127.0.0.1:\(try FreePort.find())"
            let publisher = try AMQPPublisher(
                AMQPConfiguration(urls: [dead, TestBroker.url], connectionName: "list"))
            publisher.start()
            #expect(await publisher.publish(outgoing("1", to: queue), timeout: timeout) == .confirmed)
            await publisher.close()
        }
    }

    @Test func waitingWithoutABrokerEndsInTime() async throws {
        let publisher = try AMQPPublisher(configuration("amqp://127.0.0.1:\(try FreePort.find())"))
        publisher.start()
        guard case .failed(.unreachable) = await publisher.publish(outgoing("1", to: "q"), timeout: .seconds(5)) else {
            Issue.record("no reason is given")
            return
        }
        await publisher.close()
    }
}
