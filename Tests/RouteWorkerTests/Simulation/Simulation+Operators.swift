// What operators do in a simulation: pause orgs, hand their commands on, replay dead letters.

import AMQPMessage
import FleetControls
import RoutingContract

@testable import RouteWorker

extension Simulation {
    func say(_ change: ControlChange, of org: OrgID) {
        if case .mode = change { world.turned[org] = world.uptime }
        let note = ControlNote(since: world.wall, by: "the test")
        world.transcript("\(change) \(org)")
        world.controls = world.controls.changed(by: change, for: org, note) ?? world.controls
        let control = world.controls.control(of: org)
        world.closed[org] = control.isPaused || control.mode != .live ? world.closed[org] ?? world.uptime : nil
        for worker in workers where !worker.isDead { worker.obey() }
    }

    /// Of some dead letters, twice of some of those.
    func replay() {
        let decoder = CommandDecoder(rules: SimulatedWorker.rules, orgs: OrgDirectory(orgs))
        for stored in world.broker.queues[SimulatedWorld.deadLetters]!.stored where world.chosen(0...2) == 0 {
            let letter = DeadLetter(stored.message)
            guard var message = world.witness.sent(as: stored.message) else { continue }
            let terms = ReplayTerms(
                deadline: message.deadline.map { _ in world.wall + .seconds(20) },
                acceptsDuplicate: world.chosen(0...2) == 0)
            guard
                let replay = try? letter.replay(
                    terms, decoder: decoder, queue: QueueDefaults(), routingKey: message.queue, now: world.wall)
            else { continue }
            message.isReplay = true
            message.acceptsDuplicate = terms.acceptsDuplicate
            message.deadline = terms.deadline
            // Of what needs no call, only the answer is repeated.
            if ["succeeded", "superseded"].contains(letter.outcome) { message.deadline = world.wall }
            for _ in 0..<world.chosen(1...2) {
                world.send(message) { number in
                    var again = replay
                    again.properties.correlationID = "\(number)"
                    return again
                }
            }
        }
    }
}
