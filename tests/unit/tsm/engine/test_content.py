"""How the picture of a card changes by what is confirmed, doubted and read."""

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import (
    UNKNOWN,
    ApplicationSpecification,
    CardObject,
    Claim,
    LoadFileReference,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
)
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine import readings
from opentsm.tsm.engine import steps as s
from opentsm.tsm.kernel.ids import InstanceId, TenantId

ISD = Aid.from_hex("A000000151000000")
OTHER_SD = Aid.from_hex("A000000151000001")
ELF = Aid.from_hex("F04F54534D02")
DOMAIN = Aid.from_hex("F04F54534DF001")
APP = Aid.from_hex("F04F54534D020101")


def entry(aid: Aid, through: Aid = ISD, state: int = 0x07) -> CardObject:
    return CardObject(aid=aid, kind=ObjectKind.APPLICATION, state=state, seen_through=through)


def read(
    observed: ObservedContent, *objects: CardObject, complete: bool = True, more: bool = False
) -> ObservedContent:
    return readings.read(
        observed, objects, through=ISD, complete=complete, card_state=0x0F, free_memory=1000, more=more
    )


def test_read_when_an_object_vanished_drops_what_was_known_of_it() -> None:
    known = ObservedContent(objects=(entry(APP),), keys={str(APP): (0x34,)}, personalization={str(APP): "v1"})
    seen = read(known)
    assert seen.objects == ()
    assert seen.keys == {}
    assert seen.personalization == {}
    assert seen.fresh


def test_read_when_seen_through_another_domain_keeps_the_object() -> None:
    """What this domain cannot see is unknown, not absent."""
    theirs = entry(DOMAIN, through=OTHER_SD)
    assert read(ObservedContent(objects=(theirs,)), entry(APP)).objects == (theirs, entry(APP))


def test_read_when_the_card_has_more_stays_stale_and_asks_for_more_pages() -> None:
    seen = read(ObservedContent(status_pages=2), entry(APP), complete=False, more=True)
    assert not seen.fresh
    assert seen.status_pages == 4
    assert seen.objects == ()


def test_read_when_the_card_always_has_more_is_not_asked_for_more_than_the_most_pages() -> None:
    seen = ObservedContent()
    for _ in range(20):
        seen = read(seen, entry(APP), complete=False, more=True)
    assert seen.status_pages == readings.MAX_STATUS_PAGES


def test_read_when_it_broke_off_asks_for_as_many_pages_as_before() -> None:
    seen = read(ObservedContent(status_pages=2, fresh=True), entry(APP), complete=False)
    assert (seen.status_pages, seen.fresh) == (2, False)


def test_doubt_when_keys_were_sent_forgets_which_the_domain_holds() -> None:
    known = ObservedContent(fresh=True, keys={str(DOMAIN): (0x38,)})
    doubtful = c.doubt(known, s.ReplaceKeys(domain=DOMAIN, old_kvn=0x38, new_kvn=0x34))
    assert doubtful.keys == {}
    assert not doubtful.fresh


def test_doubt_when_personalising_marks_the_application_unknown() -> None:
    step = s.Personalize(application=APP, recipe_id="r", personalization="v1")
    assert c.doubt(ObservedContent(fresh=True), step).personalization == {str(APP): UNKNOWN}


def test_doubt_when_a_step_only_reads_leaves_the_content_fresh() -> None:
    assert c.doubt(ObservedContent(fresh=True), s.ReadRegistry()).fresh


def test_doubt_when_value_was_sent_leaves_the_registry_fresh() -> None:
    step = s.TopUp(application=APP, transaction="01" * 8, amount=1)
    doubtful = c.doubt(ObservedContent(fresh=True), step)
    assert doubtful.fresh
    assert doubtful.transactions == {"01" * 8: UNKNOWN}


def test_claims_when_shared_and_released_keep_the_other_holder() -> None:
    one, two = InstanceId("one"), InstanceId("two")
    wanted = [(APP, ObjectKind.LOAD_FILE, "00" * 32)]
    held = c.claim(c.claim((), one, wanted), two, wanted)
    assert held == (Claim(aid=APP, kind=ObjectKind.LOAD_FILE, instance_ids=(one, two), sha256="00" * 32),)
    assert c.release(held, one) == (msgspec.structs.replace(held[0], instance_ids=(two,)),)
    assert c.release(c.release(held, one), two) == ()


def test_used_by_when_a_load_file_is_there_already_names_it_with_its_digest() -> None:
    application = ApplicationSpecification(instance_aid=APP, load_file=ELF, module=ELF)
    description = ServiceDescription(
        service_id="service",
        version_tag="1.0.0",
        flavor_id="flavor",
        provider_id=TenantId("provider"),
        sd_aid=DOMAIN,
        load_files=(LoadFileReference(aid=ELF, sha256="00" * 32, size=1000),),
        applications=(application,),
    )
    step = s.Install(application=application, make_selectable=True)
    assert c.used_by([step], description) == [
        (APP, ObjectKind.APPLICATION, ""),
        (ELF, ObjectKind.LOAD_FILE, "00" * 32),
    ]
    assert c.used_by([s.Lock(application=APP)], description) == []


def domain_entry(aid: Aid, privileges: int, kind: ObjectKind = ObjectKind.SECURITY_DOMAIN) -> CardObject:
    return CardObject(aid=aid, kind=kind, state=0x0F, privileges=privileges, seen_through=aid)


CENTRAL = domain_entry(DOMAIN, 0x80C000)
PARTY = domain_entry(OTHER_SD, 0x80C000)
WHOLE = domain_entry(ISD, 0x9ADC00, ObjectKind.ISSUER_SECURITY_DOMAIN)


def through(observed: ObservedContent, *objects: CardObject) -> ObservedContent:
    """Read through the first of the objects, a domain."""
    return readings.read(
        observed, objects, through=objects[0].aid, complete=True, card_state=None, free_memory=None
    )


def test_read_when_a_domain_sees_its_own_only_then_fresh_for_it_alone() -> None:
    seen = through(ObservedContent(), CENTRAL)
    assert seen.fresh_through(DOMAIN) and not seen.fresh_through(OTHER_SD) and not seen.fresh_through(ISD)
    both = through(seen, PARTY)
    assert both.fresh_through(DOMAIN) and both.fresh_through(OTHER_SD) and not both.fresh_through(ISD)
    assert {one.aid for one in both.objects} == {DOMAIN, OTHER_SD}


def test_read_when_a_domain_sees_everything_then_fresh_for_all_and_what_it_lacks_is_gone() -> None:
    seen = through(through(ObservedContent(), PARTY), WHOLE, CENTRAL)
    assert seen.fresh_through(DOMAIN) and seen.fresh_through(OTHER_SD) and seen.fresh_through(ISD)
    assert seen.find(OTHER_SD) is None
    # a reading of less afterwards makes nothing less fresh
    assert through(seen, CENTRAL).fresh_through(OTHER_SD)


def test_read_when_the_issuers_domain_has_one_byte_of_privileges_then_it_sees_everything() -> None:
    """Card Specification 2.1.1 has no Global Registry: the issuer security domain shows all."""
    old = domain_entry(ISD, 0x9A0000, ObjectKind.ISSUER_SECURITY_DOMAIN)
    assert through(ObservedContent(), old).fresh_through(DOMAIN)
    blind = domain_entry(ISD, 0x9AC000, ObjectKind.ISSUER_SECURITY_DOMAIN)
    assert not through(ObservedContent(), blind).fresh_through(DOMAIN)


def test_doubt_then_nothing_is_fresh_for_anybody() -> None:
    seen = through(through(ObservedContent(), PARTY), CENTRAL)
    doubtful = c.doubt(seen, s.Delete(aid=APP, kind=ObjectKind.APPLICATION))
    assert not doubtful.fresh_through(DOMAIN) and not doubtful.fresh_through(OTHER_SD)
    assert not through(doubtful, CENTRAL).fresh_through(OTHER_SD)
