// The definitions for RabbitMQ under `deploy` against what `topology declare` makes.

import AMQPMessage
import Foundation
import RouteWorker
import Testing

@Suite("Definitions for RabbitMQ")
struct TopologyDefinitionsTests {
    private struct Definitions: Decodable {
        struct Queue: Decodable {
            var name: String
            var durable: Bool
            var arguments: [String: Argument]
        }

        var queues: [Queue]
    }

    private enum Argument: Decodable, Hashable {
        case number(Int32)
        case text(String)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let number = try? container.decode(Int32.self) {
                self = .number(number)
            } else {
                self = .text(try container.decode(String.self))
            }
        }

        var field: FieldValue {
            switch self {
            case .number(let number): .int32(number)
            case .text(let text): .string(text)
            }
        }
    }

    @Test("Make the same queues as `topology declare`")
    func sameQueues() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../deploy/rabbitmq/definitions.json")
        let definitions = try JSONDecoder().decode(Definitions.self, from: Data(contentsOf: file))
        let topology = Topology(
            commandsQueues: ["routing.commands", "routing.commands.replay"], resultsQueue: "routing.results",
            deadLetterQueue: "routing.dead-letters", auditQueue: "routing.audit",
            controlsQueue: "routing.controls")
        #expect(definitions.queues.map(\.name) == topology.queues.map(\.name))
        #expect(!definitions.queues.map(\.durable).contains(false))
        for (defined, declared) in zip(definitions.queues, topology.queues) {
            var arguments: [String: FieldValue] = [:]
            for field in declared.arguments.fields { arguments[field.key] = field.value }
            #expect(defined.arguments.mapValues(\.field) == arguments, "queue \(declared.name)")
        }
    }
}
