// Input that must not stop or wedge the worker (issue 2): each hostile message ends as a dead letter that says why, and
// the valid commands around it are answered by the same process.

import AMQP
import AMQPMessage
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite("Hostile input", .timeLimit(.minutes(10)))
struct HostileInputTests {
    @Test("Bodies, ids, attributes, replies and CloudEvents that break the contract")
    func contractBroken() async throws {
        try await withHostileStage { stage in
            let worker = try await stage.harness.startWorker()
            let cases =
                stage.bodyCases + stage.payloadCases + stage.attributeCases + stage.replyCases + stage.eventCases
                + stage.propertyCases
            let valid = cases.map { _ in HostileStage.validRoute() } + [stage.binaryEvent(), stage.structuredEvent()]
            try await stage.send(zip(valid, cases).flatMap { [$0, $1.message] } + valid.suffix(2))

            let came = try await stage.inbox.wait { came in
                came.withoutDeadLetter(cases.map(\.name)) + came.withoutAnswer(valid)
            }
            for message in valid {
                #expect(came.answer(message.properties.correlationID)?.outcome == .succeeded)
            }
            for hostile in cases { try check(hostile, came, stage) }
            try await stage.checkHealth(of: worker)
        }
    }

    private func check(_ hostile: HostileCase, _ came: Inbox.Contents, _ stage: HostileStage) throws {
        let name = Comment(rawValue: hostile.name)
        let letters = came.deadLetters.filter { $0.properties.appID == hostile.name }
        #expect(letters.count == 1, name)
        let letter = try #require(letters.first, name)
        #expect(!letter.isBrokers, name)
        #expect(letter["Outcome"] == hostile.outcome.rawValue, name)
        #expect(letter["Reason"] == hostile.reason, name)
        #expect(letter["Error"]?.isEmpty == false, name)
        #expect(letter["OriginQueue"] == stage.commands, name)
        #expect(letter.body == hostile.message.body, name)
        checkProperties(of: letter, hostile.message.properties, name)

        // One who said where gets an answer too, unless there is no such queue.
        guard hostile.reason != "answer-unroutable" else { return }
        let answer = try #require(came.answer(hostile.message.properties.correlationID), name)
        #expect(answer.outcome == hostile.outcome, name)
        #expect(answer.reason == hostile.reason, name)
    }

    /// Kept as they were, or moved into `Original`.
    private func checkProperties(of letter: DeadLetter, _ original: MessageProperties, _ name: Comment) {
        let kept = letter.properties
        #expect(kept.contentType == original.contentType, name)
        #expect(kept.contentEncoding == original.contentEncoding, name)
        #expect(kept.correlationID == original.correlationID, name)
        #expect(kept.replyTo == original.replyTo, name)
        #expect(kept.priority == original.priority, name)
        #expect(kept.timestamp == original.timestamp, name)
        #expect(kept.type == original.type, name)
        #expect(kept.clusterID == original.clusterID, name)
        #expect(kept.deliveryMode == 2, name)
        #expect(kept.userID == nil && kept.expiration == nil, name)
        #expect(letter.original["message_id"] == original.messageID.map { .string($0) }, name)
        #expect(letter.original["expiration"] == original.expiration.map { .string($0) }, name)
        if let user = original.userID { #expect(letter.original["user_id"] == .string(user), name) }
        for field in original.headers.fields {
            if field.key.lowercased() == "original", case .table(let earlier) = field.value {
                // That of an earlier dead letter goes on as it was.
                #expect(earlier.fields.allSatisfy { letter.original[$0.key] == $0.value }, name)
            } else if HostileStage.isMoved(field.key) {
                #expect(letter.original[field.key.isEmpty ? "(empty key)" : field.key] == field.value, name)
            } else if field.value != .void || letter.properties.headers[field.key] == .void {
                #expect(kept.headers.fields.contains(field), name)
            }
        }
    }

    @Test("Messages that no client sends: malformed and enormous properties, header tables nested thousands deep")
    func rawMessages() async throws {
        try await withHostileStage { stage in
            let worker = try await stage.harness.startWorker()
            let cases = stage.rawCases
            let valid = cases.map { _ in HostileStage.validRoute() }
            var taken: [Bool] = []
            for (command, hostile) in zip(valid, cases) {
                try await stage.send([command])
                taken += try await RawPublisher.publish([hostile.message], to: stage.commands, at: stage.endpoint)
            }
            let inQueue = zip(cases, taken).filter { $1 }.map { $0.0 }
            print("refused by the broker: \(zip(cases, taken).filter { !$1 }.map { $0.0.name })")
            let came = try await stage.inbox.wait { came in
                came.withoutDeadLetter(inQueue.map(\.name)) + came.withoutAnswer(valid)
            }
            for hostile in inQueue {
                let name = Comment(rawValue: hostile.name)
                let letter = try #require(came.deadLetter(app: hostile.name), name)
                #expect(letter.isBrokers == !hostile.canBeRepublished, name)
                #expect(letter.body == hostile.message.body, name)
                if !letter.isBrokers {
                    #expect(letter["Outcome"] == "invalid", name)
                    #expect(letter["Error"]?.isEmpty == false, name)
                }
            }
            let rejected = inQueue.count { !$0.canBeRepublished }
            let lines = worker.log("rejecting the message to the broker's dead-letter exchange")
            #expect(lines.count == rejected)
            #expect(lines.allSatisfy { $0.contains("reason=") && $0.contains("obstacle=") })
            try await stage.checkHealth(of: worker)
        }
    }

    /// The broker marks a second delivery in the headers, which makes them larger than any frame that it lets be sent.
    @Test("A redelivered command whose headers fill a frame")
    func fullFrameRedelivered() async throws {
        try await withHostileStage { stage in
            let id = newID()
            let fields = [Raw.text("RequestId", id), Raw.text("OrgId", "acme")].flatMap { $0 }
            func properties(_ padding: Int) -> [UInt8] {
                Raw.properties([
                    (.headers, Raw.long(fields + Raw.text("long", String(repeating: "x", count: padding)))),
                    (.type, Raw.short("route")),
                ])
            }
            // The payload of the header frame also holds class, weight and body size; a frame, 8 bytes of its own.
            let room = 131_072 - 8 - 12
            let full = RawMessage(
                properties: properties(room - properties(0).count), body: HostileStage.validRoute().body)
            #expect(try await RawPublisher.publish([full], to: stage.commands, at: stage.endpoint) == [true])
            // Delivered, and handed back by the end of the connection.
            try await AMQPAdmin.withConnection(stage.harness.broker) { admin in
                _ = try #require(try await admin.get(from: stage.commands, removing: false))
            }
            let worker = try await stage.harness.startWorker()
            let behind = HostileStage.validRoute()
            try await stage.send([behind])
            let came = try await stage.inbox.wait { came in
                came.withoutAnswer([behind]) + (came.answer(id) == nil ? ["the redelivered one"] : [])
            }
            #expect(came.answer(id)?.outcome == .succeeded)
            try await stage.checkHealth(of: worker)
        }
    }
}
