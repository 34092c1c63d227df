// Every message gets the outcome that the broker meant: confirmed, returned, nacked, refused.
import AMQP
import AMQPMessage
import Foundation
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct PublishingTests {
    private let timeout: Duration = .seconds(20)

    @Test func unroutableMessagesAreReturnedAndTheOthersConfirmed() async throws {
        try await withQueue { admin, queue in
            try await withPublisher { publisher in
                let nowhere = uniqueName("nowhere")
                let messages = (0..<300).map { index in
                    outgoing("\(index)", to: index % 3 == 0 ? nowhere : queue, mandatory: index % 6 != 3)
                }
                let outcomes = await publisher.publish(messages, timeout: timeout)
                for (index, outcome) in outcomes.enumerated() {
                    #expect(outcome == (index % 6 == 0 ? .returned(code: 312, text: "NO_ROUTE") : .confirmed))
                }
            }
            #expect(try await admin.queue(queue)?.messages == 200)
        }
    }

    @Test func messagesWithoutAnIdentifierAreToldApart() async throws {
        try await withQueue { _, queue in
            try await withPublisher { publisher in
                let nowhere = uniqueName("nowhere")
                let messages = (0..<20).map { outgoing("\($0)", to: $0 % 2 == 0 ? nowhere : queue, id: nil) }
                let outcomes = await publisher.publish(messages, timeout: timeout)
                for (index, outcome) in outcomes.enumerated() {
                    #expect(outcome == (index % 2 == 0 ? .returned(code: 312, text: "NO_ROUTE") : .confirmed))
                }
            }
        }
    }

    @Test func fullQueueNacks() async throws {
        let arguments: FieldTable = ["x-max-length": .int32(1), "x-overflow": .string("reject-publish")]
        try await withQueue(arguments: arguments) { _, queue in
            try await withPublisher { publisher in
                var outcomes: [PublishOutcome] = []
                for index in 0..<5 {
                    outcomes.append(await publisher.publish(outgoing("\(index)", to: queue), timeout: timeout))
                }
                #expect(outcomes.first == .confirmed)
                #expect(outcomes.last == .nacked)
            }
        }
    }

    @Test func missingExchangeRefusesItsMessagesAndSparesTheOthers() async throws {
        try await withQueue { admin, queue in
            let events = PublisherEvents()
            try await withPublisher(onEvent: events.take) { publisher in
                let missing = uniqueName("no-exchange")
                let messages = (0..<50).map { outgoing("\($0)", to: queue, exchange: $0 == 20 ? missing : "") }
                let outcomes = await publisher.publish(messages, timeout: timeout)
                guard case .refused(.channelClosed(404, let text)) = outcomes[20] else {
                    Issue.record("\(outcomes[20])")
                    return
                }
                #expect(text.contains(missing))
                for (index, outcome) in outcomes.enumerated() where index != 20 {
                    switch outcome {
                    case .confirmed, .failed(.channelClosed(404, _)): break
                    default: Issue.record("\(index): \(outcome)")
                    }
                }
                // The channel is open again.
                #expect(await publisher.publish(outgoing("after", to: queue), timeout: timeout) == .confirmed)
            }
        }
    }

    /// The broker's text does not say which message it was: it is found by publishing one at a time.
    @Test func foreignUserIsFoundAmongManyAndRefused() async throws {
        try await withQueue { admin, queue in
            try await withPublisher { publisher in
                var waiting = Dictionary(uniqueKeysWithValues: (0..<40).map { ($0, outgoing("\($0)", to: queue)) })
                waiting[13]?.message.properties.userID = "somebody-else"
                var refused: [Int] = []
                var rounds = 0
                while !waiting.isEmpty {
                    rounds += 1
                    try #require(rounds <= 10)
                    let indices = waiting.keys.sorted()
                    let outcomes = await publisher.publish(indices.compactMap { waiting[$0] }, timeout: timeout)
                    for (index, outcome) in zip(indices, outcomes) {
                        switch outcome {
                        case .confirmed: waiting[index] = nil
                        case .refused(.channelClosed(406, _)):
                            refused.append(index)
                            waiting[index] = nil
                        case .failed(.channelClosed(406, _)): break
                        case .returned, .nacked, .failed, .refused: Issue.record("\(index): \(outcome)")
                        }
                    }
                }
                #expect(refused == [13])
            }
        }
    }

    @Test func whatCannotBeEncodedIsRefusedAndHarmsNothing() async throws {
        try await withQueue { _, queue in
            try await withPublisher { publisher in
                var longID = outgoing("a", to: queue)
                longID.message.properties.messageID = String(repeating: "i", count: 256)
                var longTable = outgoing("b", to: queue)
                longTable.message.properties.headers = ["large": .string(String(repeating: "t", count: 140_000))]
                var deep = outgoing("c", to: queue)
                deep.message.properties.headers["deep"] = (0..<100).reduce(FieldValue.void) { value, _ in
                    .array([value])
                }
                let outcomes = await publisher.publish(
                    [
                        longID, outgoing("1", to: queue), longTable, deep,
                        outgoing("2", to: String(repeating: "k", count: 256)), outgoing("3", to: queue),
                    ], timeout: timeout)
                let isRefused = outcomes.map { if case .refused(.invalidMessage) = $0 { true } else { false } }
                #expect(isRefused == [true, false, true, true, true, false])
                #expect(outcomes[1] == .confirmed && outcomes[5] == .confirmed)
            }
        }
    }

    @Test func manyMessagesAreConfirmedInBatches() async throws {
        try await withQueue { admin, queue in
            let (results, continuation) = AsyncStream.makeStream(of: [PublishResult].self)
            let publisher = try AMQPPublisher(
                configuration(TestBroker.url), onResults: { continuation.yield($0) })
            publisher.start()
            let deadline = ContinuousClock.now + .seconds(60)
            for batch in 0..<100 {
                publisher.enqueue(
                    (0..<100).map { index in
                        Publication(
                            ticket: UInt64(batch * 100 + index), message: outgoing("\(batch)-\(index)", to: queue),
                            deadline: deadline)
                    })
            }
            var tickets: Set<UInt64> = []
            for await batch in results {
                for result in batch {
                    #expect(result.outcome == .confirmed)
                    #expect(tickets.insert(result.ticket).inserted)
                }
                if tickets.count == 10_000 { break }
            }
            await publisher.close()
            #expect(try await admin.queue(queue)?.messages == 10_000)
        }
    }

    @Test func closingFinishesWhatIsQueued() async throws {
        try await withQueue { admin, queue in
            let publisher = try AMQPPublisher(configuration(TestBroker.url))
            publisher.start()
            #expect(await publisher.publish(outgoing("first", to: queue), timeout: timeout) == .confirmed)
            publisher.enqueue(
                (0..<500).map {
                    Publication(ticket: $0, message: outgoing("\($0)", to: queue), deadline: .now + timeout)
                })
            await publisher.close(within: timeout)
            #expect(try await admin.queue(queue)?.messages == 501)
            #expect(await publisher.publish(outgoing("late", to: queue), timeout: timeout) == .failed(.closed))
        }
    }

    @Test func fullQueueOfThePublisherFailsTheRest() async throws {
        try await withQueue { admin, queue in
            let (results, continuation) = AsyncStream.makeStream(of: [PublishResult].self)
            let publisher = try AMQPPublisher(
                configuration(TestBroker.url), limits: PublisherLimits(windowMessages: 1, queuedMessages: 10),
                onResults: { continuation.yield($0) })
            publisher.enqueue(
                (0..<50).map {
                    Publication(ticket: $0, message: outgoing("\($0)", to: queue), deadline: .now + timeout)
                })
            // Started late, so that all of them are there when the queue is first looked at.
            publisher.start()
            var outcomes: [UInt64: PublishOutcome] = [:]
            for await batch in results {
                for result in batch { outcomes[result.ticket] = result.outcome }
                if outcomes.count == 50 { break }
            }
            for (ticket, outcome) in outcomes { #expect(outcome == (ticket < 10 ? .confirmed : .failed(.queueFull))) }
            await publisher.close()
            #expect(try await admin.queue(queue)?.messages == 10)
        }
    }
}
