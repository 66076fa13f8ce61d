//! What the words beside a number say it is.
//!
//! The nearest telling word decides: in `order 81, phone 9747 6578` the number is a telephone number, in
//! `phone order 97476578` it is not. Words count as wholes, since `hotel` is no `tel`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::text::align;

/// How far before a number its words are looked for, in bytes.
const REACH_BEFORE: usize = 64;
/// How far after it.
const REACH_AFTER: usize = 40;
/// A word further off than this says nothing.
const MOST_WORDS: u8 = 8;

/// What a word says about the number beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Phone,
    Card,
    Ssn,
    /// Dotted numbers that are no addresses.
    Version,
    /// An account, a person's file, a membership.
    Account,
    /// Orders, parts, counts, codes: whatever is numbered and no personal datum.
    Thing,
}

/// The nearest telling word on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) topic: Option<Topic>,
    /// Words between it and the number.
    pub(super) distance: u8,
    /// Whether another number or the end of a sentence stands between.
    pub(super) crossed: bool,
}

impl Hint {
    const NONE: Self = Self { topic: None, distance: MOST_WORDS, crossed: false };

    pub(super) fn says(&self, topic: Topic) -> bool {
        self.topic == Some(topic)
    }

    /// Whether the word speaks of this number and of no other.
    pub(super) const fn is_close(&self) -> bool {
        !self.crossed && self.distance < 4
    }
}

/// The nearest telling word before `at`.
pub(super) fn before(text: &str, at: usize) -> Hint {
    let from = align(text, at.saturating_sub(REACH_BEFORE)..at).start;
    let window = lower(text.get(from..at).unwrap_or_default());
    let mut hint = Hint::NONE;
    hint.distance = 0;
    let (mut end, mut of_number, mut of_person, mut called, mut placeholder) = (None, false, false, false, false);
    for (place, c) in window.char_indices().rev() {
        // Marks of Indic scripts are parts of words, and so is an accent written apart.
        let in_word = c.is_alphanumeric() || matches!(c, '\u{301}' | '\u{900}'..='\u{dff}');
        if in_word {
            end.get_or_insert(place + c.len_utf8());
        }
        let starts_here = !in_word || place == 0;
        if let (true, Some(stop)) = (starts_here, end) {
            end = None;
            let start = if in_word { place } else { place + c.len_utf8() };
            let whole = start > 0 || from == 0;
            let word = window.get(start..stop).unwrap_or_default();
            // What was put for something else says nothing about this number.
            if std::mem::replace(&mut placeholder, word == "redacted") || placeholder {
                hint.crossed = true;
                continue;
            }
            if called {
                let topic = if is_program(word) { Topic::Thing } else { Topic::Phone };
                return Hint { topic: Some(topic), ..hint };
            }
            if word.bytes().all(|byte| byte.is_ascii_digit()) {
                hint.crossed = true;
            } else if whole {
                let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
                let phone =
                    of_number && is_owner(word) || of_person && matches!(word, "text" | "message" | "messages" | "try");
                let topic = topic(word).or_else(|| phone.then_some(Topic::Phone));
                if topic.is_some() && matches!(word, "call" | "calls" | "called") {
                    called = true;
                } else if topic.is_some() {
                    return Hint { topic, ..hint };
                }
                of_number = is_number(word);
                of_person = matches!(word, "me" | "us" | "him" | "her" | "them" | "at" | "to");
                if !of_number {
                    hint.distance += 1;
                }
            }
            if hint.distance >= MOST_WORDS {
                break;
            }
        }
        hint.crossed |= matches!(c, ';' | '\n' | '!' | '?');
    }
    if called { Hint { topic: Some(Topic::Phone), ..hint } } else { Hint::NONE }
}

/// The nearest telling word from `at` on, in the same sentence.
pub(super) fn after(text: &str, at: usize) -> Hint {
    let to = align(text, at..at.saturating_add(REACH_AFTER)).end;
    let window = lower(text.get(at..to).unwrap_or_default());
    let stop = window.find(['.', ';', '!', '?', '\n', ',', '[']).unwrap_or(window.len());
    let sentence = window.get(..stop).unwrap_or_default();
    let words = sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for (word, distance) in words.zip(0..5) {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            break;
        }
        if let Some(topic) = topic(word) {
            return Hint { topic: Some(topic), distance, crossed: false };
        }
    }
    let labelled = sentence.strip_prefix(['-', '(']).or_else(|| sentence.strip_prefix(" (")).is_some_and(|label| {
        ["office", "home", "work", "main", "direct", "day", "evening"].iter().any(|word| label.starts_with(word))
    });
    if labelled { Hint { topic: Some(Topic::Phone), distance: 0, crossed: false } } else { Hint::NONE }
}

/// Whether the words from `at` on make the number a count (`401918 ms`) or part of an address (`14 3684 Court Street`).
pub(super) fn counts(text: &str, at: usize) -> bool {
    let to = align(text, at..at.saturating_add(REACH_AFTER)).end;
    let window = text.get(at..to).unwrap_or_default();
    let Some(rest) = window.strip_prefix(' ') else { return false };
    let words = rest.split([' ', ',', '.', '\n']).map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let mut words = words.map(str::to_ascii_lowercase);
    words.next().is_some_and(|first| is_one_of(UNITS, &first) || is_one_of(STREETS, &first))
        || words.take(2).any(|word| is_one_of(STREETS, &word))
}

fn is_one_of(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|one| one == word)
}

const UNITS: &str = "\
    ms milliseconds seconds s minutes hours days people persons users customers items boxes units pieces rows \
    records lines words tokens characters bytes kb mb gb km kg m miles mah dollars euros usd eur gbp times \
    points votes results shares einwohner habitants habitantes years \
";
const STREETS: &str = "\
    street st lane ln avenue ave road rd drive court ct boulevard blvd way terrace place square circle highway \
    hwy parkway pkwy crescent trail apt suite \
";

fn lower(window: &str) -> String {
    if window.is_ascii() { window.to_ascii_lowercase() } else { window.to_lowercase() }
}

/// `call` after one of these is no telephone call.
fn is_program(word: &str) -> bool {
    matches!(word, "function" | "tool" | "api" | "method" | "system" | "procedure" | "sys" | "rpc")
}

/// `number` after one of these is a telephone number.
fn is_owner(word: &str) -> bool {
    matches!(
        word,
        "my" | "mit"
            | "mitt"
            | "mein"
            | "minha"
            | "mój"
            | "mia"
            | "his"
            | "her"
            | "their"
            | "our"
            | "your"
            | "s"
            | "registered"
            | "er"
            | "är"
            | "new"
            | "old"
            | "private"
            | "business"
            | "emergency"
            | "direct"
            | "mon"
            | "son"
            | "votre"
            | "meine"
            | "deine"
            | "ihre"
            | "unsere"
            | "mi"
            | "su"
            | "mio"
            | "tuo"
            | "meu"
            | "seu"
            | "mijn"
            | "uw"
    )
}

fn is_number(word: &str) -> bool {
    matches!(
        word,
        "number"
            | "numbers"
            | "nummer"
            | "numéro"
            | "numero"
            | "número"
            | "no"
            | "nr"
            | "num"
            | "registered"
            | "or"
            | "and"
            | "oder"
            | "und"
            | "ou"
            | "is"
            | "are"
            | "ist"
            | "est"
            | "es"
            | "è"
            | "é"
            | "at"
            | "to"
            | "on"
            | "under"
            | "was"
    )
}

fn topic(word: &str) -> Option<Topic> {
    if let Some(topic) = WORDS.get(word) {
        return Some(*topic);
    }
    let begins = |stems: &[&str]| stems.iter().any(|stem| word.starts_with(stem));
    if begins(PHONE_STEMS) && !word.starts_with("mobili") {
        return Some(Topic::Phone);
    }
    if word.is_ascii() {
        return None;
    }
    let last = |topic| move |needle: &&str| word.rfind(needle).map(|at| (at, topic));
    let found = PHONE_PARTS.iter().filter_map(last(Topic::Phone));
    let found = found.chain(CARD_PARTS.iter().filter_map(last(Topic::Card)));
    let found = found.chain(THING_PARTS.iter().filter_map(last(Topic::Thing)));
    found.max_by_key(|(at, _)| *at).map(|(_, topic)| topic)
}

static WORDS: LazyLock<HashMap<&'static str, Topic>> = LazyLock::new(|| {
    let lists = [
        (Topic::Phone, PHONE),
        (Topic::Card, CARD),
        (Topic::Ssn, SSN),
        (Topic::Version, VERSION),
        (Topic::Account, ACCOUNT),
        (Topic::Thing, THING),
    ];
    lists.into_iter().flat_map(|(topic, words)| words.split_whitespace().map(move |word| (word, topic))).collect()
});

/// Words of many languages which begin like this and go on anyhow: `Telefonnummer`, `mobilnummer`, `telefonen`.
const PHONE_STEMS: &[&str] = &[
    "telef",
    "telep",
    "teléf",
    "téléph",
    "telév",
    "handyn",
    "mobil",
    "móv",
    "whatsapp",
    "phone",
    "rufnummer",
    "тел",
    "моб",
    "τηλ",
    "puhel",
];

/// Parts of words in scripts that put no blanks between words, or few.
const PHONE_PARTS: &[&str] = &[
    "电话",
    "電話",
    "手机",
    "手機",
    "携帯",
    "致电",
    "致電",
    "拨打",
    "撥打",
    "热线",
    "熱線",
    "传真",
    "傳真",
    "联系方式",
    "連絡先",
    "전화",
    "휴대폰",
    "핸드폰",
    "연락처",
    "звон",
    "هاتف",
    "جوال",
    "موبايل",
    "تلفن",
    "اتصل",
    "טלפון",
    "נייד",
    "फ़ोन",
    "फ\u{93c}ोन",
    "फोन",
    "मोबाइल",
    "โทร",
    "điện",
    "thoại",
];
const CARD_PARTS: &[&str] =
    &["卡号", "卡號", "信用卡", "银行卡", "借记卡", "カード", "카드", "карт", "بطاقة", "कार्ड", "บัตร"];
const THING_PARTS: &[&str] = &[
    "订单",
    "訂單",
    "单号",
    "單號",
    "快递",
    "编号",
    "編號",
    "注文",
    "注文番号",
    "受付番号",
    "伝票",
    "발급",
    "주문",
    "заказ",
    "счет",
    "счёт",
    "طلب",
];

const PHONE: &str = "\
    tel tél tfno tlf tfn tlph ph cell cellphone cellular mob fax telefax telecopy call calls called calling \
    caller dial dialed dialled dialing texted texting sms mms ring rang reach reached reachable contact \
    contacted hotline helpline tollfree voicemail answering pager landline viber telegram handy anruf anrufen \
    ruf rufen rufnr erreichbar erreichen festnetz durchwahl mobiltel portable gsm fixe appeler appelez appelle \
    joindre joignable rappeler rappelez celular cel fono llamar llama llame llámame llámenos llamada marque \
    ligar ligue liga telemóvel telemovel cellulare chiamare chiama chiamami chiami chiamate bel bellen mobiel \
    komórka komórkowy zadzwoń dzwoń dzwonić kom soita ringa hívj hívjon arayın hubungi telp hp simu gọi đt sđt \
    contactphone homephone workphone officephone mobilephone customerphone dayphone altphone msisdn номер факс \
    klingeln zavolejte volejte volajte sunati sunați \
";
const CARD: &str = "\
    card cards visa mastercard maestro amex discover diners jcb unionpay credit debit cc ccn creditcard \
    debitcard cardnumber pan karte kreditkarte kartennummer kreditkartennummer tarjeta carte cartão cartao carta \
    kort kortnummer kreditkort betaalkaart creditcardnummer karta karty kartı kart cvv cvc expiry bankcard exp \
    expires expiring pay payment charge \
";
const SSN: &str = "\
    ssn ssns social sssn ss socsec \
";
const VERSION: &str = "\
    version versions ver section sections sec chapter release released build firmware clause paragraph oid \
    figure fig table kernel bios upgrade upgraded upgrading downgrade downgraded revision rev appendix chrome \
    chromium driver drivers patch sdk article rule abschnitt kapitel versión versione versão sección раздел \
    версия \
";
const ACCOUNT: &str = "\
    bill bills account accounts acct konto kontonummer customer client member membership policy patient employee student \
    passport licence license licenses licences taxpayer tax vat ein npi iban bic swift routing sort aba cuenta \
    compte conto conta kundennummer kunde cliente user username userid dni nif cpf cnpj siret siren aadhaar nhs \
    nino steuernummer personalausweis \
";
const THING: &str = "\
    value values order orders ordered invoice invoices isbn issn part parts timestamp timestamps ticket tickets serial \
    tracking sku commit case ref reference date dates dated born dob birth birthday coordinates coordinate \
    latitude longitude lat lon lng zip zipcode postcode postal plz id ids uid uuid guid row rows port ports pid \
    error errors code codes flight vin imei imsi iccid model product item items asin upc ean gtin barcode \
    bestellung bestellnummer rechnung rechnungsnummer auftrag auftragsnummer sendung sendungsnummer artikel \
    artikelnummer factura facture pedido commande ordine fattura encomenda bestelling zamówienie hash checksum \
    md5 sha pr issue bug score scores population total amount price prices cost costs sum revenue budget salary \
    usd eur gbp chf inr jpy dollars euros size bytes offset seed epoch ms seconds tokens token meeting suite apt \
    apartment page pages patent doi arxiv pmid orcid registration batch lot container waybill awb shipment \
    package parcel fedex ups usps dhl transaction txn confirmation booking reservation pnr pin otp count index \
    hex range job grid lotto lottery loan claim docket quantity qty weight volume length width height matrix \
    odometer mileage balance \
";

#[cfg(test)]
mod tests {
    use super::*;

    fn topic_before(text: &str) -> Option<Topic> {
        before(text, text.len()).topic
    }

    #[test]
    fn the_nearest_word_decides() {
        assert_eq!(topic_before("order 81, phone "), Some(Topic::Phone));
        assert_eq!(topic_before("phone order no. "), Some(Topic::Thing));
        assert_eq!(topic_before("Wählen Sie die Telefonnummer "), Some(Topic::Phone));
        assert_eq!(topic_before("我的电话是"), Some(Topic::Phone));
        assert_eq!(topic_before("我的订单号是"), Some(Topic::Thing));
        assert_eq!(topic_before("{\"phone_number\": \""), Some(Topic::Phone));
    }

    #[test]
    fn words_count_as_wholes() {
        assert_eq!(topic_before("the hotel has "), None);
        assert_eq!(topic_before("recall "), None);
        assert_eq!(topic_before("[PHONE_REDACTED] is free, "), None);
        assert_eq!(after(" [PHONE_REDACTED]", 0).topic, None);
        assert_eq!(topic_before(&format!("{}tel ", "ho".repeat(40))), None);
    }

    #[test]
    fn calls_of_functions_are_no_telephone_calls() {
        assert_eq!(topic_before("call "), Some(Topic::Phone));
        assert_eq!(topic_before("the function call "), Some(Topic::Thing));
    }

    #[test]
    fn whose_number_it_is_makes_it_a_telephone_number() {
        assert_eq!(topic_before("my number is "), Some(Topic::Phone));
        assert_eq!(topic_before("the number of people is "), None);
    }

    #[test]
    fn words_after_a_number_name_it_too() {
        assert_eq!(after(" is my cell", 0).topic, Some(Topic::Phone));
        assert_eq!(after("-Office\\,001", 0).topic, Some(Topic::Phone));
        assert_eq!(after(". Call me", 0).topic, None);
    }
}
