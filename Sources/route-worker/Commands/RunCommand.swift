// `route-worker run`: the worker.

import AMQP
import ArgumentParser
import Foundation
import IdempotencyStore
import InteractionAPI
import Logging
import NIOConcurrencyHelpers
import NIOPosix
import RouteWorker
import RoutingContract
import UnixSignals
import WorkerLog
import WorkerSettings

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Runs a worker: consumes commands, calls Salesforce, publishes answers.",
        discussion: """
            Runs until SIGTERM or Ctrl-C, which drains: nothing new is started, calls under way finish and are answered. \
            A second signal ends at once with a non-zero code; what was under way is delivered again. \
            SIGHUP reads the configuration again: orgs come, go and change while commands are worked on. A configuration \
            that is bad changes nothing; what needs a restart is named in a warning.

            EXAMPLES
              route-worker run -c worker.yaml
              AMQP_URL=amqps://worker:…@mq.example.com route-worker run -c worker.yaml
              route-worker run -c worker.yaml --set worker.concurrency=128
              route-worker run -c worker.yaml --dry-run       would it start?
            """)

    @OptionGroup var options: SettingsOptions

    @Option(help: ArgumentHelp("Written when the worker consumes all its queues.", valueName: "file"))
    var readyFile: String?

    @Flag(help: "Only show that broker, queues, store, tokens and Salesforce's hosts can be reached, and end.")
    var dryRun = false

    func run() async throws {
        if dryRun {
            var inspection = Inspection(try options.load(for: .worker), trial: .connection, configFile: options.config)
            return try await inspection.run()
        }
        // A reload that is asked for before the worker is up must not end it, and may be about what was read before: it is
        // made later.
        signal(SIGHUP, SIG_IGN)
        let hangUps = await UnixSignalsSequence(trapping: .sighup)
        let settings = try options.load(for: .worker)
        settings.startLog()
        let logger = settings.makeLogger("route-worker")
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
        let caller = try settings.makeCaller(on: loop)
        let client = caller.client
        let answers = try LoopPublisher(on: loop) { try settings.makePublisher("publisher", logger, onResults: $0) }
        let publisher = answers.publisher
        let directReplies = try settings.makePublisher("direct replies", logger)
        let monitoring = Monitoring(settings)
        let store = try settings.openStore(on: loop, monitoring: monitoring)
        try await probe(store, logger)

        let pipeline = DeliveryPipeline(
            settings: settings.pipelineSettings, loop: loop,
            decoder: CommandDecoder(rules: settings.decodingRules, orgs: settings.orgDirectory), store: store,
            api: client, publisher: MeteredPublisher(answers, factory: monitoring.registry),
            directReplies: directReplies, log: settings.makeLog("route-worker"),
            metrics: PipelineMetrics(
                factory: monitoring.registry, queues: settings.consumedQueues.map(\.name)),
            wallClock: StoreClock.system.now)
        let ready = ReadyFile(path: readyFile, queues: Set(settings.subscriptions.map(\.queue)))
        let partitions = settings.partitionedQueue.map { (queue: $0, inbox: PartitionInbox($0)) }
        let consumerLog = ConnectionLog("consumer", logger: logger)
        let consumer = try AMQPConsumer(
            settings.brokerConfiguration("consumer"), subscriptions: settings.subscriptions
        ) { event in
            consumerLog.saw(event)
            pipeline.receive(event)
            partitions?.inbox.receive(event)
            ready.saw(event)
        }
        let parkingLog = ConnectionLog("parking", logger: logger)
        let parking = try BrokerParkingLots(
            settings.brokerConfiguration("parking"), lockHolder: consumer,
            deadLetterQueue: settings.answers.deadLetterQueue
        ) { event in
            parkingLog.saw(event)
            pipeline.receive(event)
        }
        await pipeline.park(in: parking)
        let controls =
            try settings.controls.isEnabled
            ? ControlsStream(
                settings.brokerConfiguration("controls"), queue: settings.controls.queue, logger: logger) : nil
        publisher.start()
        directReplies.start()
        logger.info(
            "starting",
            metadata: [
                LogKey.worker: "\(settings.worker.name)", LogKey.version: "\(RouteWorkerCommand.version)",
                LogKey.orgs: "\(settings.orgs.count)", LogKey.concurrency: "\(settings.worker.concurrency)",
            ])
        settings.reportMisconfigured(logger)
        settings.reportReadableSecrets(logger)
        let reloader = Reloader(settings, caller: caller, pipeline: pipeline, logger: logger) { [options] in
            try options.load(for: .worker)
        }
        let health = HealthService(
            board: monitoring.board, gauges: monitoring.gauges,
            sources: HealthService.Sources(
                pipeline: pipeline, consumer: consumer,
                queues: Set((settings.subscriptions + settings.partitionSubscriptions).map(\.queue)),
                publishers: ["publisher": publisher, "direct replies": directReplies], store: store,
                tokens: caller.tokens, certificates: { await reloader.running.certificateEnds() },
                droppedLines: { LogWriter.standardError.droppedLines }), logger: logger)
        let sharing = try partitions.map { queue, inbox in
            PartitionService(
                try settings.brokerConfiguration("partitions"), partitioned: queue,
                subscriptions: settings.partitionSubscriptions, inbox: inbox, consumer: consumer, pipeline: pipeline,
                board: monitoring.board, logger: logger)
        }
        // Services end in reverse: first the consumer and its pipeline, then what they need, and last the probes.
        let services =
            monitoring.services(settings, logger: logger) + [
                health,
                ClosingService { await store.close() },
                HousekeepingService(store: store, logger: logger),
                ClosingService { await publisher.close() },
                ClosingService { await directReplies.close() },
                ClosingService { await client.shutDown() },
                FleetService(
                    try settings.brokerConfiguration("fleet"), queue: settings.fleetQueue,
                    watched: settings.consumedQueues.map(\.name).filter { $0 != settings.fleetQueue }
                        + [settings.answers.deadLetterQueue],
                    needed: [settings.answers.queue, settings.answers.deadLetterQueue],
                    board: monitoring.board, pipeline: pipeline, logger: logger),
                RoutingService(
                    consumer: consumer, pipeline: pipeline, parking: parking, controls: controls,
                    drainTimeout: settings.worker.drainTimeout, logger: logger),
            ] + (sharing.map { [$0] } ?? [])
        do {
            try await runServices(services, logger: logger, onHangUp: (hangUps, { await reloader.reload() }))
        } catch let error as ControlsError {
            throw CommandFailure(error)
        }
    }

    /// Stops a worker that would only hold up commands: what makes a store unusable does not mend itself. One that cannot
    /// be reached may come back, and is waited for with the first commands.
    private func probe(_ store: any IdempotencyStore, _ logger: Logger) async throws {
        do throws(StoreError) {
            try await store.probe()
        } catch {
            switch error {
            case .unusable: throw CommandFailure.configuration("store.url: \(error)")
            case .unavailable, .full, .closed:
                logger.warning(
                    "the store does not work; commands wait on the broker until it does",
                    metadata: [LogKey.error: "\(error)"])
            }
        }
    }
}

/// Writes the ready file once every queue is consumed.
private final class ReadyFile: Sendable {
    private let path: String?
    private let missing: NIOLockedValueBox<Set<String>>

    init(path: String?, queues: Set<String>) {
        self.path = path
        missing = NIOLockedValueBox(queues)
    }

    func saw(_ event: ConsumerEvent) {
        guard path != nil, case .subscribed(let queue, _) = event else { return }
        let isComplete = missing.withLockedValue { $0.remove(queue) != nil && $0.isEmpty }
        guard isComplete else { return }
        do { try writeReadyFile(path, "ready") } catch { say("\(error)") }
    }
}
