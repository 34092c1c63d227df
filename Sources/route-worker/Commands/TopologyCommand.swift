// `route-worker topology`: the queues, declared or checked.

import AMQP
import ArgumentParser
import RouteWorker
import WorkerSettings

struct TopologyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topology",
        abstract: "Declares or checks the queues that the worker needs.",
        discussion: """
            EXAMPLES
              route-worker topology declare -c worker.yaml    creates what is missing
              route-worker topology check -c worker.yaml      is all there, and safe?
            """,
        subcommands: [Declare.self, Check.self])

    struct Declare: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Creates the queues that are missing.",
            discussion: """
                Commands queues become quorum queues whose rejected messages go to the dead-letter queue. What exists is \
                left as it is; what exists with other properties is an error.

                A worker declares the parking queue of an org when it needs one. With --parking they are created here, for \
                workers that may not: one for each commands queue and org.

                With --partitions, or commands.partitions in the configuration, the first commands queue is spread over so \
                many, behind an exchange that keeps each conversation in one of them. Another number than there is needs \
                empty partitions and stopped workers; partitions that are too many are deleted then.

                EXAMPLES
                  route-worker topology declare -c worker.yaml
                  route-worker topology declare -c worker.yaml --partitions 16
                  route-worker topology declare -c worker.yaml --parking
                  route-worker topology declare -c worker.yaml --only routing.commands
                  AMQP_URL=amqp://admin:…@mq.example.com route-worker topology declare
                """)

        @OptionGroup var options: SettingsOptions

        @Flag(help: "Also the parking queue of each commands queue and org.")
        var parking = false

        @Option(
            parsing: .singleValue,
            help: ArgumentHelp("Only this queue, a parking queue perhaps; may be repeated.", valueName: "queue"))
        var only: [String] = []

        @Option(help: ArgumentHelp("Partitions of the first commands queue, 1 to 128.", valueName: "n"))
        var partitions: Int?

        func run() async throws {
            let settings = try options.load(
                for: .tools, with: partitions.map { ["commands.partitions": "\($0)"] } ?? [:])
            let configuration = try settings.brokerConfiguration("topology")
            var topology = settings.topology
            if parking || !only.isEmpty {
                topology.addParking(of: settings.orgs.filter { $0.parking != nil }.map(\.id))
            }
            if !only.isEmpty {
                if let unknown = only.first(where: { name in !topology.queues.contains { $0.name == name } }) {
                    let needed = topology.queues.map(\.name).joined(separator: ", ")
                    throw CommandFailure.configuration("--only \(unknown): no such queue is needed, but \(needed)")
                }
                topology.queues.removeAll { !only.contains($0.name) }
            }
            do {
                try await AMQPAdmin.withConnection(configuration) { [topology] admin in
                    try await topology.declare(
                        admin, mayChangePartitions: only.isEmpty, orgs: settings.orgDirectory.orgs.map(\.id)
                    ) {
                        print("\($0) '\($1)' is there")
                    }
                }
                // Leaves something to read in the controls' stream: a worker that finds it empty publishes to learn so, which
                // it cannot while the broker takes no messages.
                if settings.controls.isEnabled, topology.queues.contains(where: { $0.role == .controls }) {
                    _ = try await ControlsDesk(settings).read()
                }
            } catch let error as PartitionsInUse {
                throw CommandFailure.failed("\(error)")
            } catch AMQPError.connectionClosed(503, let text) {
                // The one command of these that a broker may not know.
                throw CommandFailure.failed(
                    "the broker knows no exchange for partitions (\(text)): on each of its nodes run `rabbitmq-plugins "
                        + "enable rabbitmq_consistent_hash_exchange`, which comes with RabbitMQ, then declare again")
            } catch let error as AMQPError {
                throw CommandFailure.failed("cannot declare the topology: \(error)")
            }
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says what is missing or loses messages, as `check` does; changes nothing.",
            discussion: "EXAMPLES\n  route-worker topology check -c worker.yaml")

        @OptionGroup var options: SettingsOptions

        func run() async throws {
            let settings = try options.load(for: .tools)
            var inspection = Inspection(settings, trial: .connection, configFile: options.config)
            try await inspection.run(.broker)
        }
    }
}

extension Settings {
    var topology: Topology {
        Topology(
            commandsQueues: consumedQueues.map(\.name), resultsQueue: answers.queue,
            deadLetterQueue: answers.deadLetterQueue, auditQueue: deadLetters.auditQueue,
            controlsQueue: controls.isEnabled ? controls.queue : nil, partitioned: partitionedQueue)
    }
}
