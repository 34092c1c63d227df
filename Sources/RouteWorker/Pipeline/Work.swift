// What a delivery is while the pipeline has it.

import AMQP
import RoutingContract

extension DeliveryPipeline {
    /// One message on its way. A class, since it goes through many hands: a copy of all its parts costs as much as
    /// decoding them.
    final class Work: Sendable {
        /// As it came from its commands queue, also where it was parked in between; its receipt is that of the last delivery.
        let delivery: Delivery
        /// The index of its queue in the settings.
        let queue: Int
        let place: Place
        let decoded: Result<RouteCommand, InvalidCommand>
        let receivedAt: Timestamp
        /// How often its commands queue had delivered it before.
        let earlierDeliveries: Int
        let type: TimedType
        /// When the platform issued it; without that, its receipt.
        let issuedAt: Timestamp
        /// Of a valid command, as the next.
        let org: OrgID?
        let conversation: ConversationKey?

        /// The queue whose channel it has to be settled on.
        var subscription: String { place.lot ?? delivery.queue }

        init(
            delivery: Delivery, queue: Int, place: Place = .commands, decoded: Result<RouteCommand, InvalidCommand>,
            receivedAt: Timestamp, earlierDeliveries: Int
        ) {
            self.delivery = delivery
            self.queue = queue
            self.place = place
            self.decoded = decoded
            self.receivedAt = receivedAt
            self.earlierDeliveries = earlierDeliveries
            switch decoded {
            case .success(let command):
                (org, conversation) = (command.key.org, command.conversationKey)
                (type, issuedAt) = (TimedType(command), command.issuedAt ?? receivedAt)
            case .failure:
                (org, conversation) = (nil, nil)
                (type, issuedAt) = (.invalid, receivedAt)
            }
        }
    }
}
