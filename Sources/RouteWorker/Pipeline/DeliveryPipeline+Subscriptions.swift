// The channels on which queues are consumed come and go.

import AMQP
import Logging

extension DeliveryPipeline {
    func subscribed(_ queue: String, _ generation: UInt64) {
        generations[queue] = generation
        outages[queue] = nil
        if let org = parkingPlaces[queue]?.org {
            run(orgs[org]!.gate.subscribed(queue, now: moment().uptime), org)
        } else {
            logger.log(
                level: queueIndex[queue] == nil ? .debug : .info, "consuming", metadata: [LogKey.queue: "\(queue)"])
        }
    }

    /// Also where there was none yet, since it could not be had.
    func subscriptionLost(_ queue: String, _ generation: UInt64, _ error: AMQPError) {
        if error == .closed, let place = parkingPlaces[queue] {
            tenures.closedLot(of: place.queue)
            goOnHandingOver(place.queue)
        }
        // Of a parking queue that the gate itself has closed, nothing is left to lose.
        if let known = generations[queue], known != generation { return }
        if error != .closed { tell(queue, error) }
        // First the gate: once the last command from a parking queue has left, a live org has done with the queue.
        if let org = parkingPlaces[queue]?.org {
            run(orgs[org]!.gate.subscriptionLost(queue, now: moment().uptime), org)
        }
        lose(queue)
    }

    /// What was delivered on a channel that is gone comes again: what has not started leaves its lane, what waits
    /// leaves at once, and what is being called for finishes and records.
    func lose(_ queue: String) {
        generations[queue] = nil
        stopWaiting { $0.subscription == queue }
    }

    /// Without a warning for every attempt.
    private func tell(_ queue: String, _ error: AMQPError) {
        logger.log(
            outages[queue, default: Outage()].failed(error, now: .now), .warning,
            error.isMissing
                ? "not consuming; run `route-worker topology declare`" : "not consuming; will subscribe again",
            metadata: [LogKey.queue: "\(queue)", LogKey.error: "\(error)"])
    }
}
