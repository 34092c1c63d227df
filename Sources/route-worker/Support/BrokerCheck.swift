// What `check` and `run --dry-run` ask the broker, and the way out as text.

import AMQP
import BrokerInspection
import RouteWorker
import WorkerSettings

extension Settings {
    /// - Parameter configFile: where these settings were read.
    func brokerNeeds(_ broker: AMQPConfiguration, configFile: String?) -> BrokerNeeds {
        var all = topology
        all.addParking(of: orgs.filter { $0.parking != nil }.map(\.id))
        return BrokerNeeds(
            vhost: broker.endpoints[0].vhost, user: broker.endpoints[0].user, queues: topology.queues,
            parking: all.queues.filter { $0.role == .parking }, partitioned: partitionedQueue,
            deadLetterQueue: answers.deadLetterQueue,
            retention: store.retention, failureRetention: store.failureRetention,
            longestWork: orgs.map { $0.retry.budget + $0.callTimeout }.max() ?? .zero, configFile: configFile)
    }

    /// What the management API tells; `nil` where it is not given.
    func askManagement(_ needs: BrokerNeeds) async throws(ManagementFailure) -> ManagedBroker? {
        guard let url = amqp.managementURL else { return nil }
        let client = try ManagementClient(
            url: url.secretValue, caFile: amqp.caFile, timeLimit: amqp.connectTimeout)
        let told: Result<ManagedBroker, ManagementFailure>
        do throws(ManagementFailure) {
            told = .success(try await client.broker(needs.vhost, user: needs.user))
        } catch {
            told = .failure(error)
        }
        await client.shutDown()
        return try told.get()
    }
}

extension Diagnosis {
    var hasLoss: Bool { findings.contains { $0.severity == .loss } }
}

extension Diagnosis.Step {
    /// A line under what it mends; a `$` marks what a shell takes.
    var line: String {
        switch self {
        case .say(let text): "      \(text)"
        case .run(let command): "      $ \(command)"
        }
    }
}
