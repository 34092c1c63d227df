// What a user may do, told from names, and the broker's own mind about it.
import AMQP
import AMQPMessage
import TestSupport
import Testing

@Suite("Rights", .serialized, .timeLimit(.minutes(2)))
struct RightsTests {
    @Test("Rights are told of queues that are there and of those that are not, and the broker agrees")
    func told() async throws {
        try await withPrivateBroker { broker in
            try await broker.ctl(["add_user", "worker", "secret"])
            func allow(_ configure: String, _ write: String, _ read: String) async throws {
                try await broker.ctl(["set_permissions", "worker", configure, write, read])
            }
            let url = "amqp://worker:secret@127.0.0.1:\(broker.port)"
            let arguments: FieldTable = ["x-queue-type": .string("quorum"), "x-dead-letter-exchange": .string("")]

            try await allow("^a\\.", "^amq\\.default$", "")
            try await AMQPAdmin.withConnection(configuration(url)) { admin in
                let configures = [
                    try await admin.mayConfigure(queue: "a.1"), try await admin.mayConfigure(queue: "b.1"),
                ]
                let (reads, publishes) = (try await admin.mayConsume(from: "a.1"), try await admin.mayPublish())
                #expect(configures == [true, false] && !reads && publishes)
                // The right to configure does not do with a dead-letter exchange, while there is no such queue.
                await #expect {
                    try await admin.declareQueue("a.1", arguments: arguments)
                } throws: {
                    if case .accessRefused? = $0 as? AMQPError { true } else { false }
                }
            }
            try await allow("^a\\.", "^amq\\.default$", "^a\\.")
            try await AMQPAdmin.withConnection(configuration(url)) { admin in
                let before = try await admin.mayConsume(from: "a.1")
                try await admin.declareQueue("a.1", arguments: arguments)
                let after = [try await admin.mayConfigure(queue: "a.1"), try await admin.mayConsume(from: "a.1")]
                let other = try await admin.mayConsume(from: "b.1")
                #expect(before && after == [true, true] && !other)
            }
            try await allow("^a\\.", "", "^a\\.")
            let publishes = try await AMQPAdmin.withConnection(configuration(url)) { try await $0.mayPublish() }
            #expect(!publishes)
        }
    }
}
