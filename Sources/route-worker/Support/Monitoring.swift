// What watches a worker: its metrics, its health, and the port that shows them.

import Admin
import Foundation
import InteractionAPI
import Logging
import PrometheusMetrics
import RouteWorker
import ServiceLifecycle
import WorkerSettings

/// The parts that measure and show, made before those that they measure.
struct Monitoring: Sendable {
    let registry: PrometheusRegistry
    let board: HealthBoard
    let gauges: GaugeBoard

    init(_ settings: Settings) {
        registry = PrometheusRegistry(MetricCatalog.all)
        board = HealthBoard(
            Liveness.Limits(
                limit: settings.admin.livenessLimit, heartbeat: settings.amqp.heartbeat,
                longestStep: max(Settings.longestCall, settings.answers.confirmTimeout, settings.store.timeout)))
        gauges = GaugeBoard(
            factory: registry, worker: settings.worker.name, version: RouteWorkerCommand.version,
            prefetch: settings.consumedQueues.map { ($0.name, $0.prefetch) },
            deadLetterQueue: settings.answers.deadLetterQueue)
    }

    /// The port, where the settings want one.
    func services(_ settings: Settings, logger: Logger) -> [any Service] {
        guard settings.admin.isEnabled else { return [] }
        let address = settings.admin.address
        return [
            AdminServer(
                host: address.host, port: address.port,
                routes: AdminRoutes(board: board, gauges: gauges, registry: registry, logger: logger), logger: logger
            ) { address in
                logger.info("the admin port is open", metadata: [LogKey.address: "\(address)"])
            }
        ]
    }
}

extension Settings {
    /// When certificates end, as far as the files say so. An org's key has no end of its own: the certificate that was
    /// uploaded to Salesforce has, and is looked for in the key's file.
    func certificateEnds() -> [CertificateEnd] {
        var ends: [CertificateEnd] = []
        func look(_ path: String?, _ use: String, _ org: String = "") {
            guard let path, let end = CertificateFile.firstEnd(in: path) else { return }
            ends.append(CertificateEnd(use: use, org: org, at: end))
        }
        look(amqp.caFile, "amqp.caFile")
        look(amqp.certificateFile, "amqp.certificateFile")
        look(store.caFile, "store.caFile")
        look(http.caFile, "http.caFile")
        for org in orgs {
            guard case .oauth(let credentials) = org.token else { continue }
            for file in credentials.keyFiles { look(file, "oauth.keyFiles", org.alias) }
        }
        return ends
    }
}
