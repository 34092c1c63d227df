// A parked command comes back as what it was.

import AMQPMessage
import Testing

@testable import RoutingContract

@Suite struct ParkedMessageTests {
    private func parked(_ message: Message, deadline: Timestamp? = nil) -> ParkedMessage {
        ParkedMessage(
            message: message,
            origin: DeliveryOrigin(queue: "routing.commands", exchange: "in", routingKey: "key"),
            receivedAt: Sample.now, earlierDeliveries: 3, deadline: deadline)
    }

    @Test func keepsWhatWouldActAgainOutOfTheWay() throws {
        var message = Sample.message()
        message.properties.userID = "somebody"
        message.properties.expiration = "1000"
        message.properties.messageID = "m-1"
        message.properties.replyTo = "amq.rabbitmq.reply-to"
        message.properties.deliveryMode = 1
        message.properties.correlationID = "c-1"
        message.properties.headers["CC"] = .array([.string("other")])
        message.properties.headers["x-delivery-count"] = .int64(4)
        let published = try parked(message).encoded(messageID: "unique")
        let properties = published.properties
        #expect(properties.userID == nil && properties.expiration == nil && properties.replyTo == nil)
        #expect(properties.messageID == "unique" && properties.deliveryMode == 2)
        #expect(properties.correlationID == "c-1" && published.body == message.body)
        #expect(properties.headers.fields.map(\.key) == ["Parked"])
    }

    @Test func messagesThatNoWorkerParkedAreTold() throws {
        #expect(ParkedMessage(Sample.message()) == nil)
        var forged = Sample.message()
        forged.properties.headers["Parked"] = .table(["Queue": .string("q")])
        #expect(ParkedMessage(forged) == nil)
    }

    @Test func whatCannotBePublishedAgainIsRefused() {
        var message = Sample.message()
        message.properties.headers["big"] = .string(String(repeating: "x", count: 200_000))
        #expect(throws: UnencodableProperties.self) { try parked(message).encoded(messageID: "m") }
    }

    @Test func comesBackExactlyAsItWas() throws {
        var random = SeededGenerator()
        let seed = random.seed
        for _ in 0..<500 {
            var message = Sample.message()
            func maybe(_ text: String) -> String? { random.chance(0.5) ? text : nil }
            message.properties.userID = maybe("u")
            message.properties.expiration = maybe("60000")
            message.properties.messageID = maybe("m")
            message.properties.correlationID = maybe("c")
            message.properties.replyTo = ["amq.rabbitmq.reply-to", "routing.replies.1", nil].randomElement(
                using: &random)!
            message.properties.contentType = maybe("application/json")
            message.properties.deliveryMode = [1, 2, nil].randomElement(using: &random)!
            message.properties.timestamp = random.chance(0.5) ? 1_772_366_400 : nil
            let values: [FieldValue] = [
                .void, .int64(-3), .boolean(true), .bytes([0, 255]), .malformedString([0xFF]),
                .table(["a": .array([.double(1.5)])]), .timestamp(5), .string("😀"),
            ]
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let key = ["x-a", "CC", "", "Parked", "Deadline", "custom", "custom"].randomElement(using: &random)!
                message.properties.headers.fields.append(
                    FieldTable.Field(key, values.randomElement(using: &random)!))
            }
            let deadline = random.chance(0.5) ? Timestamp(milliseconds: Int64.random(in: .min ... .max)) : nil
            let before = parked(message, deadline: deadline)
            let after = ParkedMessage(try before.encoded(messageID: "unique"))
            #expect(after == before, "seed \(seed)")
            guard let after else { continue }
            #expect(Sample.decode(after.message) == Sample.decode(message), "seed \(seed)")
        }
    }

    @Test func aDefaultDeadlineCountsFromTheFirstReceipt() throws {
        let transfer = Sample.message(
            #"{"conversationIdentifier":"c","routingType":"Transfer","routingInfo":{"queueId":"00G000000000001"}}"#)
        let after = try #require(ParkedMessage(try parked(transfer).encoded(messageID: "m")))
        let decoder = CommandDecoder(rules: DecodingRules(), orgs: Sample.directory())
        let command = try decoder.decode(
            after.message, routingKey: "key", queue: QueueDefaults(), now: after.receivedAt
        ).get()
        #expect(command.deadline == Sample.now + .seconds(40))
    }

    @Test func markersAreToldFromCommands() {
        for number in [0, 1, UInt64.max] {
            #expect(ParkingMarker(ParkingMarker(number).encoded(messageID: "m"))?.number == number)
        }
        #expect(ParkingMarker(Sample.message()) == nil)
    }

    @Test func noAnswerGoesToAParkingQueue() {
        var rules = DecodingRules()
        rules.replyAllowList = [.prefix("routing.")]
        rules.reservedQueues = ["routing.commands"]
        let lot = ParkingQueue.name(of: "routing.commands", org: OrgID(Sample.org)!)
        #expect(lot == "routing.commands.parked.\(Sample.org)")
        #expect(rules.allowsReply(to: "routing.replies") && !rules.allowsReply(to: lot))
    }

    @Test(
        "What is named after a queue of the worker's is the worker's",
        arguments: [
            ("", true), (".0", true), (".12", true), (".12.owner", true), (".workers", true), (".operator", true),
            (".operator.name", true), (".parked.00D000000000001", true), (".", false), (".x", false),
            (".owner", false), ("-legacy", false), ("s", false), (".workers.x", false), (".1x", false),
            (".wanting.one", true), (".wanting.share", true), (".wanting", false), (".wanting.x", false),
            (".12.parked.00D000000000001", true), (".12.parked", false), (".x.parked.00D000000000001", false),
            (".12.owner.x", false),
        ])
    func namedAfter(rest: String, isReserved: Bool) {
        var rules = DecodingRules()
        rules.reservedQueues = ["routing.commands"]
        #expect(rules.isReserved("routing.commands" + rest) == isReserved)
    }

    @Test func whatIsHandedOnIsAsItCameButForWhatWouldActAgain() throws {
        var message = Sample.message()
        message.properties.userID = "u"
        message.properties.expiration = "5"
        message.properties.replyTo = "replies.1"
        message.properties.priority = 3
        message.properties.headers = [
            "CC": .string("q"), "BCC": .string("q"), "x-death": .int32(1), "": .int32(1), "Tenant": .string("t"),
            "Replay": .int32(1), "Original": .table(["x-death": .int32(7)]),
        ]
        message.properties.messageID = nil
        let after = try message.handedOn(messageID: "unique")
        #expect(after.body == message.body && after.properties.messageID == "unique")
        #expect(after.properties.replyTo == "replies.1" && after.properties.priority == 3)
        #expect(after.properties.deliveryMode == 2)
        #expect(after.properties.userID == nil && after.properties.expiration == nil)
        #expect(after.properties.headers.fields.map(\.key) == ["Tenant", "Replay", "Original"])
        guard case .table(let original) = after.properties.headers["Original"] else { return #expect(Bool(false)) }
        #expect(
            Set(original.fields.map(\.key)) == ["CC", "BCC", "x-death", "(empty key)", "user_id", "expiration"])
        // The first counts.
        #expect(original["x-death"] == .int32(7))
        message.properties.messageID = "its own"
        #expect(try message.handedOn(messageID: "unique").properties.messageID == "its own")
    }
}
